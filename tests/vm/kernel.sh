#!/bin/sh
# Unpacks the newest cloud kernel of a release into its root file system (a hook of image.sh's mmdebstrap):
#
#   kernel.sh ROOT
#
# Unpacks only: an installation would also make an initramfs, which takes time and nobody boots.
# Releases from 7.x on spread a kernel over four packages.
set -eu
root=$1
names=$(chroot "$root" apt-get install -s --no-install-recommends linux-image-cloud-amd64 |
	awk '/^Inst linux-(image|base|binary|modules)-[0-9]/ {print $2}')
mkdir "$root/tmp/kernel"
chmod 0777 "$root/tmp/kernel"
chroot "$root" sh -c 'cd /tmp/kernel && apt-get download "$@"' sh $names
for deb in "$root"/tmp/kernel/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink
done
rm -r "$root/tmp/kernel"
chroot "$root" depmod "$(ls "$root/lib/modules")"
