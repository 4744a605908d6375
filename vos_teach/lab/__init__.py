"""What a notebook imports."""

from vos_teach.lab.check import CheckFailed as CheckFailed
from vos_teach.lab.check import NotAttempted as NotAttempted
from vos_teach.lab.check import check as check
from vos_teach.lab.check import hint as hint
