/**
 * The FUSE kernel protocol's numbers under the kernel's own names: `include/uapi/linux/fuse.h`, major version 7.
 * Every number on the wire is in host byte order; we run on little-endian machines only (x64, arm64).
 */

export const FUSE_KERNEL_VERSION = 7
/**
 * The minor version we speak: all we use is in 7.31 (MAX_PAGES came with 7.28, EXPLICIT_INVAL_DATA with 7.30).
 * It is also the least we accept: Linux 5.4.
 */
export const FUSE_KERNEL_MINOR_VERSION = 31

/** The node id of the root directory. */
export const FUSE_ROOT_ID = 1

// enum fuse_opcode
export const FUSE_LOOKUP = 1
export const FUSE_FORGET = 2
export const FUSE_GETATTR = 3
export const FUSE_SETATTR = 4
export const FUSE_READLINK = 5
export const FUSE_SYMLINK = 6
export const FUSE_MKNOD = 8
export const FUSE_MKDIR = 9
export const FUSE_UNLINK = 10
export const FUSE_RMDIR = 11
export const FUSE_RENAME = 12
export const FUSE_LINK = 13
export const FUSE_OPEN = 14
export const FUSE_READ = 15
export const FUSE_WRITE = 16
export const FUSE_STATFS = 17
export const FUSE_RELEASE = 18
export const FUSE_FSYNC = 20
export const FUSE_SETXATTR = 21
export const FUSE_GETXATTR = 22
export const FUSE_LISTXATTR = 23
export const FUSE_REMOVEXATTR = 24
export const FUSE_FLUSH = 25
export const FUSE_INIT = 26
export const FUSE_OPENDIR = 27
export const FUSE_READDIR = 28
export const FUSE_RELEASEDIR = 29
export const FUSE_FSYNCDIR = 30
export const FUSE_GETLK = 31
export const FUSE_SETLK = 32
export const FUSE_SETLKW = 33
export const FUSE_ACCESS = 34
export const FUSE_CREATE = 35
export const FUSE_INTERRUPT = 36
export const FUSE_BMAP = 37
export const FUSE_DESTROY = 38
export const FUSE_IOCTL = 39
export const FUSE_POLL = 40
export const FUSE_NOTIFY_REPLY = 41
export const FUSE_BATCH_FORGET = 42
export const FUSE_FALLOCATE = 43
export const FUSE_RENAME2 = 45
export const FUSE_LSEEK = 46
export const FUSE_COPY_FILE_RANGE = 47

// INIT flags
export const FUSE_ASYNC_READ = 1 << 0
export const FUSE_POSIX_LOCKS = 1 << 1
export const FUSE_BIG_WRITES = 1 << 5
export const FUSE_PARALLEL_DIROPS = 1 << 18
export const FUSE_MAX_PAGES = 1 << 22
export const FUSE_EXPLICIT_INVAL_DATA = 1 << 25

// fuse_setattr_in.valid
export const FATTR_MODE = 1 << 0
export const FATTR_UID = 1 << 1
export const FATTR_GID = 1 << 2
export const FATTR_SIZE = 1 << 3
export const FATTR_ATIME = 1 << 4
export const FATTR_MTIME = 1 << 5
export const FATTR_FH = 1 << 6
export const FATTR_ATIME_NOW = 1 << 7
export const FATTR_MTIME_NOW = 1 << 8
export const FATTR_CTIME = 1 << 10

// Flags returned by OPEN, OPENDIR and CREATE
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_NONSEEKABLE = 1 << 2
export const FOPEN_CACHE_DIR = 1 << 3
export const FOPEN_STREAM = 1 << 4
export const FOPEN_NOFLUSH = 1 << 5
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6

export const FUSE_GETATTR_FH = 1 << 0
export const FUSE_FSYNC_FDATASYNC = 1 << 0

// Sizes of the structs, in bytes
export const FUSE_IN_HEADER_SIZE = 40
export const FUSE_OUT_HEADER_SIZE = 16
/** enum fuse_notify_code: it stands where a reply has its error. */
export const FUSE_NOTIFY_INVAL_INODE = 2
export const FUSE_NOTIFY_RETRIEVE = 5
export const FUSE_ATTR_SIZE = 88
export const FUSE_ENTRY_OUT_SIZE = 128
export const FUSE_ATTR_OUT_SIZE = 104
export const FUSE_OPEN_OUT_SIZE = 16
export const FUSE_WRITE_OUT_SIZE = 8
export const FUSE_STATFS_OUT_SIZE = 80
export const FUSE_LK_OUT_SIZE = 24
export const FUSE_INIT_OUT_SIZE = 64
/** struct fuse_dirent up to its name. */
export const FUSE_NAME_OFFSET = 24

export const FUSE_GETATTR_IN_SIZE = 16
export const FUSE_SETATTR_IN_SIZE = 88
export const FUSE_MKNOD_IN_SIZE = 16
export const FUSE_MKDIR_IN_SIZE = 8
export const FUSE_RENAME_IN_SIZE = 8
export const FUSE_RENAME2_IN_SIZE = 16
export const FUSE_LINK_IN_SIZE = 8
export const FUSE_OPEN_IN_SIZE = 8
export const FUSE_CREATE_IN_SIZE = 16
export const FUSE_READ_IN_SIZE = 40
export const FUSE_WRITE_IN_SIZE = 40
export const FUSE_RELEASE_IN_SIZE = 24
export const FUSE_FLUSH_IN_SIZE = 24
export const FUSE_FSYNC_IN_SIZE = 16
export const FUSE_LK_IN_SIZE = 48
export const FUSE_FORGET_IN_SIZE = 8
export const FUSE_BATCH_FORGET_IN_SIZE = 8
export const FUSE_FORGET_ONE_SIZE = 16
export const FUSE_INTERRUPT_IN_SIZE = 8
/** Up to `flags`; the rest came with INIT_EXT, which we do not ask for. */
export const FUSE_INIT_IN_SIZE = 16

/** The last byte of a lock that reaches to the end of the file: the kernel's OFFSET_MAX. */
export const OFFSET_MAX = 0x7fffffffffffffffn
