// Package disk counts and bounds what files take of a file system.
//
// It owns project quotas (quotactl_fd(2), FS_IOC_FSSETXATTR) and the measuring
// of trees where there are none. Whose files these are, and what becomes of who
// has too many, others decide.
package disk
