// Package apitest has what the backends of tests have in common.
//
// It owns [Folder], with which a folder of the machine stands for all replicas and
// volumes: archives are packed of it and unpacked into it as the node does it, and
// connections go to the machine itself. Only tests use it.
package apitest
