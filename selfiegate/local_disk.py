"""Whether a folder lies on this machine's own disk, where SQLite's locks and shared memory hold."""

from __future__ import annotations

import os
from pathlib import Path

from selfiegate.errors import BackendMisconfigured

_MOUNTS = Path("/proc/self/mountinfo")

_REMOTE = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "pvfs2", "smb3", "smbfs", "vboxsf", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys",
    "fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.blobfuse",
    "fuse.blobfuse2", "fuse.moosefs", "fuse.vmhgfs-fuse",
}  # fmt: skip
"""Types as the kernel names them; Amazon EFS is nfs4, and a Windows drive in WSL is 9p."""


def require_local(folder: Path, mounts: Path = _MOUNTS) -> None:
    """Refuse a folder on a network file system: https://www.sqlite.org/wal.html, "does not work over a network".

    Where the system tells no types (it is no Linux), nothing is refused.
    """
    kind = _type_of(folder, mounts)
    if kind in _REMOTE:
        raise BackendMisconfigured(
            f"{folder} lies on a network file system ({kind}), on which two machines can damage SQLite files or miss "
            "each other's faces; set SELFIEGATE_HOME to a folder on this machine's own disk"
        )


def _type_of(folder: Path, mounts: Path) -> str | None:
    """Return the type of the file system that holds a folder; see proc_pid_mountinfo(5) for the lines."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for mount, _, kind in (line.partition(" - ") for line in lines):
        if mount.split()[2] == number:
            return kind.split()[0]
    return None
