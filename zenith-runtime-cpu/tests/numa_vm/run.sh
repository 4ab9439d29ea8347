#!/bin/sh
# Runs the program in proof.rs inside two virtual machines, one with two memory nodes and one with a third that has only
# memory, and says what it said.
#
#   run.sh [KERNEL]
#
# KERNEL is a Linux kernel image (a vmlinuz with initramfs and NUMA built in); without it, the newest
# /boot/vmlinuz-* is used, else Debian's cloud kernel is downloaded and unpacked, not installed.
# Exit status: 0 all checks passed, 1 some failed, 2 it could not be run.
set -eu

die() {
    echo "run.sh: $*" >&2
    exit 2
}
need() {
    command -v "$1" > /dev/null || die "$1 is missing; it is in the package $2"
}
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio
need gzip gzip
need cargo "rustup (https://rustup.rs)"
busybox=$(command -v busybox)
if ldd "$busybox" > /dev/null 2>&1; then
    die "$busybox is not linked statically; the package busybox-static has one that is"
fi

crate=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

kernel=${1:-$(ls -t /boot/vmlinuz-* 2> /dev/null | head -n 1)}
if [ -z "$kernel" ]; then
    need apt-get "apt (or give a kernel as the argument)"
    need dpkg-deb dpkg
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$package" ] || die "no kernel in /boot, and apt knows no linux-image-cloud-amd64; give a kernel as the argument"
    echo "unpacking the kernel of $package"
    (cd "$work" && apt-get -q download "$package" && dpkg-deb -x ./*.deb kernel) > /dev/null 2>&1 \
        || die "cannot download $package; give a kernel as the argument"
    kernel=$(ls "$work"/kernel/boot/vmlinuz-*)
fi

# The machine has no libraries.
target=x86_64-unknown-linux-gnu
cd "$crate"
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
    cargo build --quiet --target "$target" --example numa_vm || die "the program does not build"
directory=$(cargo metadata --no-deps --format-version=1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

mkdir -p "$work/root/bin" "$work/root/proc" "$work/root/sys" "$work/root/dev"
cp "$busybox" "$work/root/bin/busybox"
cp "$directory/$target/debug/examples/numa_vm" "$work/root/numa_vm"
cat > "$work/root/init" << 'INIT'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for node in /sys/devices/system/node/node[0-9]*; do
    echo 16 > $node/hugepages/hugepages-2048kB/nr_hugepages
done
echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
# The kernel passes what it does not know of its command line on as variables.
/numa_vm "$memory_nodes"
echo "status $?"
/bin/busybox poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio --quiet -o -H newc) | gzip -1 > "$work/initrd"

# boot NODES OPTION...: emulated processors, which work where the host is virtual itself, and boot in seconds.
boot() {
    nodes=$1
    shift
    timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 4,sockets=2,cores=2 \
        -object memory-backend-ram,id=m0,size=1G -numa node,nodeid=0,cpus=0-1,memdev=m0 \
        -object memory-backend-ram,id=m1,size=1G -numa node,nodeid=1,cpus=2-3,memdev=m1 \
        -numa dist,src=0,dst=1,val=21 "$@" \
        -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 quiet memory_nodes=$nodes" \
        -nographic -no-reboot < /dev/null > "$work/console" 2>&1 || true
    if ! grep -q '^status ' "$work/console"; then
        tail -n 20 "$work/console" >&2
        die "the machine with $nodes nodes did not get as far as an answer"
    fi
    echo "=== $nodes memory nodes"
    tr -d '\r' < "$work/console" | sed -n '/processors online/,/^status/p' | sed 's/.*\[2J//'
    grep -q '^status 0' "$work/console" || failed=1
}

failed=0
boot 2 -m 2G
boot 3 -m 2560M -object memory-backend-ram,id=m2,size=512M -numa node,nodeid=2,memdev=m2 \
    -numa dist,src=0,dst=2,val=17 -numa dist,src=1,dst=2,val=28
exit $failed
