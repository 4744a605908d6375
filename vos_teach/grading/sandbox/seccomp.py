"""A filter of system calls for the process that runs student code, written as BPF for x86_64 and aarch64.

Everything is allowed but what is listed: new processes, other programs, other processes' memory and signals, sockets
other than a pair of one's own, mounts, namespaces, memory that no limit counts, and the kernel's rarer doors. What is
denied fails with EPERM, which Python raises as PermissionError. Threads are allowed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from vos_teach.grading.sandbox import linux

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86_64, aarch64); None where the architecture has no such call
DENIED = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242), "bind": (49, 200),
    "listen": (50, 201),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "userfaultfd": (323, 282), "seccomp": (317, 277),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "sethostname": (170, 161),
    "setdomainname": (171, 162), "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "personality": (135, 92),
    "syslog": (103, 116), "vhangup": (153, 58), "uselib": (134, None), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "setsid": (112, 157),
    "setpgid": (109, 154),
}
# where files outside are not mounted read-only these only seem to work: Landlock does not stop them
PRETENDED = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466), "file_setattr": (469, 469),
}
CLONE, CLONE3, KILL, TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
PRCTL, SOCKETPAIR, PRLIMIT, IOCTL, FCNTL, SECCOMP = (157, 167), (53, 199), (302, 261), (16, 29), (72, 25), (317, 277)
CLONE_THREAD = 0x10000
PRCTLS = (linux.PR_SET_PDEATHSIG, linux.PR_SET_DUMPABLE, 22, 35, linux.PR_CAP_AMBIENT, 0x59616D61)  # 22 seccomp, 35 mm
IOCTLS = (0x5412, 0x541C, 0x8901, 0x8902)  # push input into a terminal; own a file's signals
FCNTLS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others
LOAD, EQUAL, SET, AND, RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NR, ARCH = 0, 4


def _argument(index: int) -> int:
    return 16 + 8 * index  # its lower half: both architectures are little-endian


def program(machine: str, pid: int, pretend: bool = False) -> bytes:
    """The filter for a process that knows itself as `pid`. OSError where the architecture is not known.

    pretend: changes of files' rights, owners and times only seem to work.
    """
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"there is no seccomp filter for {machine}")
    column = 0 if machine == "x86_64" else 1
    deny = (RETURN, 0, 0, ERRNO | errno.EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    code = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, NR)]
    if column == 0:  # the x32 calls: another numbering of the same doors
        code += [(SET, 0, 1, 0x40000000), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]

    def rule(numbers: tuple, *body: tuple) -> None:
        if numbers[column] is not None:
            code.extend([(EQUAL, 0, len(body), numbers[column]), *body])

    def only(index: int, *values: int) -> list[tuple]:
        """Allowed if the argument is one of these, else denied."""
        checks = [(EQUAL, len(values) - i, 0, v) for i, v in enumerate(values)]
        return [(LOAD, 0, 0, _argument(index)), *checks, deny, allow]

    def never(index: int, *values: int) -> list[tuple]:
        checks = [(EQUAL, len(values) - i, 0, v & 0xFFFFFFFF) for i, v in enumerate(values)]
        return [(LOAD, 0, 0, _argument(index)), *checks, allow, deny]

    rule(CLONE, (LOAD, 0, 0, _argument(0)), (SET, 1, 0, CLONE_THREAD), deny, allow)
    rule(CLONE3, (RETURN, 0, 0, ERRNO | errno.ENOSYS))  # its flags cannot be seen; the C library then uses clone
    rule(KILL, *only(0, pid))
    rule(TGKILL, *only(0, pid))
    rule(PRLIMIT, *only(0, 0, pid))
    rule(PRCTL, *never(0, *PRCTLS))
    rule(IOCTL, *never(1, *IOCTLS))
    rule(FCNTL, *never(1, *FCNTLS))
    # a pair of connected stream sockets of the Unix family: what an event loop wakes itself with
    rule(SOCKETPAIR, (LOAD, 0, 0, _argument(0)), (EQUAL, 0, 3, 1), (LOAD, 0, 0, _argument(1)), (AND, 0, 0, 0xF),
         (EQUAL, 1, 0, 1), deny, allow)
    for numbers in DENIED.values():
        rule(numbers, deny)
    for numbers in PRETENDED.values() if pretend else ():
        rule(numbers, (RETURN, 0, 0, ERRNO))
    code.append(allow)
    return b"".join(struct.pack("<HBBI", *line) for line in code)


def install(pretend: bool = False) -> None:
    """Put the filter on this process, for good. It must have one thread only. OSError where it cannot be."""
    code = program(linux.MACHINE, os.getpid(), pretend)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    said = Program(len(code) // 8, ctypes.addressof(buffer))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.call(SECCOMP[0 if linux.MACHINE == "x86_64" else 1], 1, 1, ctypes.byref(said))  # FILTER, TSYNC


def works() -> str | None:
    """None if a filter can be put on a process here, else why not."""
    if not linux.LINUX:
        return "seccomp is a part of Linux"
    if linux.MACHINE not in ARCHITECTURES:
        return f"there is no seccomp filter for {linux.MACHINE}"
    return None
