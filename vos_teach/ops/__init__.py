"""The formulas on the slides, as pure tensor functions: what students write."""
