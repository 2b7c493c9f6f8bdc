# boot.sh DIR CGROUP
#
# Started as the first process of new PID, mount, UTS, IPC and network namespaces,
# becomes the systemd of a machine whose disk is this machine's, with DIR/upper
# over it, and whose control groups are below CGROUP. Touches DIR/mounted when all
# that a machine may not permit has been permitted.
set -eu
dir=$1 group=$2
root=$dir/root

if [ "${3-}" = "" ]; then
  for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    if [ -e "$hierarchy/cgroup.procs" ] && [ ! -L "${hierarchy%/}" ]; then
      mkdir -p "$hierarchy/$group"
      if [ -e "$hierarchy/cpuset.cpus" ] && [ -e "$hierarchy/tasks" ]; then # version 1 takes nobody without
        cat "$hierarchy/cpuset.cpus" >"$hierarchy/$group/cpuset.cpus"
        cat "$hierarchy/cpuset.mems" >"$hierarchy/$group/cpuset.mems"
      fi
      echo 0 >"$hierarchy/$group/cgroup.procs"
    fi
    [ ! -e /sys/fs/cgroup/cgroup.controllers ] || break # version 2 alone: there is one
  done
  exec unshare --cgroup /bin/sh "$0" "$dir" "$group" again
fi

mount --make-rprivate /
mkdir -p "$dir/upper" "$dir/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  for hierarchy in /sys/fs/cgroup/*/; do
    name=$(basename "$hierarchy")
    [ ! -L "/sys/fs/cgroup/$name" ] || continue
    mkdir "$root/sys/fs/cgroup/$name"
    case $name in
      unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/$name" ;;
      systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/$name" ;;
      *) mount -t cgroup -o "$name" cgroup "$root/sys/fs/cgroup/$name" ;;
    esac
  done
fi
mount -t tmpfs tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  : >"$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts -o newinstance,ptmxmode=0666 "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
: >"$root/dev/console"
mount --bind "$dir/console" "$root/dev/console"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
# This machine's kernel is not the other one's to set up.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
if [ ! -e "$root/etc/lofn-test-machine" ]; then
  # Nor do its services run there.
  rm -rf "$root/etc/systemd/system" "$root/etc/init.d" "$root"/etc/rc?.d "$root/etc/fstab"
  rm -rf "$root/etc/lofn" "$root/var/lib/lofn" "$root/usr/local/bin/lofn"
  mkdir -p "$root/etc/systemd/system" "$root/etc/lofn-test-machine"
  ln -s /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
  for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service getty.target containerd.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
  done
fi
cd "$root"
mkdir -p .before
pivot_root . .before
: >"/.before$dir/mounted"
umount -l /.before
exec env -i container=lofn-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=journal </dev/null
