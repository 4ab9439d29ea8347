#!/bin/sh
# Starts the scheduler in a virtual machine with two memory nodes and lets a gang of one process for each of four GPUs say what it is
# bound to: the processors, the memory policy, and its threads.
#
#   run.sh [KERNEL [PROGRAM]]
#
# KERNEL is a Linux kernel image (a vmlinuz with initramfs and NUMA built in); without it, the newest
# /boot/vmlinuz-* is used, else Debian's cloud kernel is downloaded and unpacked, not installed.
# PROGRAM is a zenith-scheduler; without it, one is built.
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

program=${2:-}
if [ -z "$program" ]; then
    need cargo "rustup (https://rustup.rs)"
    cd "$crate"
    cargo build --quiet --bin zenith-scheduler || die "the program does not build"
    directory=$(cargo metadata --no-deps --format-version=1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    program=$directory/debug/zenith-scheduler
fi

mkdir -p "$work/root/bin" "$work/root/proc" "$work/root/sys" "$work/root/dev" "$work/root/tmp" "$work/root/state" "$work/root/out"
cp "$busybox" "$work/root/bin/busybox"
cp "$program" "$work/root/zenith-scheduler"
# The loader and the libraries lie where the program looks for them.
ldd "$program" | sed -n 's/^[^/]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
    mkdir -p "$work/root$(dirname "$library")"
    cp -L "$library" "$work/root$library"
done
cat > "$work/root/rank" << 'RANK'
#!/bin/sh
# As /proc has it of the process that a rank is.
cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
policy=$(sed -n '1s/^[^ ]* \([^ ]*\).*/\1/p' /proc/self/numa_maps)
echo "rank $RANK gpu $CUDA_VISIBLE_DEVICES cpus $cpus policy $policy threads $OMP_NUM_THREADS" > "/out/half.$RANK"
mv "/out/half.$RANK" "/out/rank.$RANK"
RANK
chmod +x "$work/root/rank"
cat > "$work/root/init" << 'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up
ip addr add 127.0.0.1/8 dev lo 2> /dev/null
hostname vm
/zenith-scheduler --state /state --gpus 4 2> /out/log &
until wget -q -O /dev/null http://127.0.0.1:8080/readyz 2> /dev/null; do sleep 0.2; done
until wget -q -O - http://127.0.0.1:8080/v1/nodes | grep -q '"contact":"up"'; do sleep 0.2; done
body='{"resources": {"gpus": 4, "cpus": 1}, "command": ["/rank"]}'
wget -q -O - --header "Content-Type: application/json" --post-data "$body" http://127.0.0.1:8080/v1/jobs
echo
tries=0
until [ "$(ls /out/rank.* 2> /dev/null | wc -l)" = 4 ] || [ "$tries" = 300 ]; do
    sleep 0.2
    tries=$((tries + 1))
done
echo "=== answers"
cat /out/rank.*
wget -q -O - http://127.0.0.1:8080/v1/jobs/1 | grep -o '"notes":\[[^]]*\]'
echo "=== end"
cat /out/log
poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio --quiet -o -H newc) | gzip -1 > "$work/initrd"

# Emulated processors, which work where the host is virtual itself, and boot in seconds.
timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 4,sockets=2,cores=2 -m 2G \
    -object memory-backend-ram,id=m0,size=1G -numa node,nodeid=0,cpus=0-1,memdev=m0 \
    -object memory-backend-ram,id=m1,size=1G -numa node,nodeid=1,cpus=2-3,memdev=m1 \
    -numa dist,src=0,dst=1,val=21 \
    -kernel "$kernel" -initrd "$work/initrd" -append "console=ttyS0 panic=-1 quiet" \
    -nographic -no-reboot < /dev/null > "$work/console" 2>&1 || true
tr -d '\r' < "$work/console" | sed -n '/^=== answers/,/^=== end/p' > "$work/answers"
if ! [ -s "$work/answers" ]; then
    tail -n 40 "$work/console" >&2
    die "the machine did not get as far as an answer"
fi
cat "$work/answers"

failed=0
expect() {
    grep -qx "$1" "$work/answers" || {
        echo "missing: $1" >&2
        failed=1
    }
}
# Two GPUs at each node, a processor for each: a process has those of its GPU's node, and one thread of them.
expect "rank 0 gpu 0 cpus 0-1 policy prefer:0 threads 1"
expect "rank 1 gpu 1 cpus 0-1 policy prefer:0 threads 1"
expect "rank 2 gpu 2 cpus 2-3 policy prefer:1 threads 1"
expect "rank 3 gpu 3 cpus 2-3 policy prefer:1 threads 1"
exit $failed
