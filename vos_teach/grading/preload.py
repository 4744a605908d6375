"""What the server of worker processes imports once: everything that judging needs, so that a worker starts at once."""

import vos_teach.grading.judge  # noqa: F401
import vos_teach.grading.pool
