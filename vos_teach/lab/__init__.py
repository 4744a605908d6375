"""What a notebook imports."""

from vos_teach.lab import card as card
from vos_teach.lab import own as own
from vos_teach.lab import show as show
from vos_teach.lab.check import CheckFailed as CheckFailed
from vos_teach.lab.check import NotAttempted as NotAttempted
from vos_teach.lab.check import check as check
from vos_teach.lab.check import hint as hint
from vos_teach.lab.operators import keep as keep
from vos_teach.lab.operators import recall_operator as recall_operator
from vos_teach.lab.pointer import pointer as pointer
from vos_teach.lab.prediction import predict as predict
from vos_teach.lab.published_curves import published as published
from vos_teach.lab.published_curves import published_means as published_means
from vos_teach.lab.session import Lab as Lab
from vos_teach.lab.session import setup as setup
from vos_teach.lab.widgets import slider as slider
