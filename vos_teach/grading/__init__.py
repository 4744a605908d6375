"""Labs for instructors: one source each -> nbgrader's source, the students' notebook, what students may have."""
