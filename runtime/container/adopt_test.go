//go:build linux

package container

const envDaemon = "FCNODE_CONTAINER_TEST_DAEMON"

func daemonMain() int { return 1 }
