#!/bin/busybox sh
# The first process of the virtual machine: an NFSv4.1 server in the initial network namespace, and clients in namespaces of their own.
# It plays the scenes and prints facts, `FACT <scene> <name> <value>`; what they must be is in main.rs.
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /run /tmp /var/lib/nfs/v4recovery /mnt /export
/bin/busybox --install -s /bin
exec 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
ip link set lo up

now() { cut -d' ' -f1 /proc/uptime; }
fact() { echo "FACT $*"; }
log() { echo "LOG $(now) $*"; }

while read -r module; do insmod "/modules/$module" || log "could not load $module"; done < /modules/order

# ---- the file server: leases and grace of 10 s, the shortest that the kernel takes
mount -t tmpfs -o size=1200m export /export
mkdir -p /export/small && mount -t tmpfs -o size=3m small /export/small
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo 10 > /proc/fs/nfsd/nfsv4gracetime

# What rpc.mountd would answer to the kernel, for good: who the clients are, what is exported, and where a file handle leads.
# export PATH FSID FLAGS; flags: 2 insecure port, 0x400 no subtree check, 0x2000 fsid, 0x4000 crossmnt.
FOREVER=2147483647
export_path() {
    echo "* $1 $FOREVER $3 65534 65534 $2" > /proc/net/rpc/nfsd.export/channel
    echo "* 1 \\x0${2}000000 $FOREVER $1" > /proc/net/rpc/nfsd.fh/channel
}
export_client() { echo "nfsd $1 $FOREVER *" > /proc/net/rpc/auth.unix.ip/channel; }
start_file_server() {
    echo "-3 -4.2" > /proc/fs/nfsd/versions
    echo "tcp 2049" > /proc/fs/nfsd/portlist
    echo 8 > /proc/fs/nfsd/threads
    # Clients first: they make the name `*` known.
    for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do export_client "10.0.$number.2"; done
    export_path /export 0 $((0x6402))
    export_path /export/small 2 $((0x2402))
}
stop_file_server() { echo 0 > /proc/fs/nfsd/threads; }
start_file_server
log "file server started"

# ---- clients: client NUMBER makes /mnt/NUMBER; cut and mend are for its link
client() {
    # The shell prefers the ip of busybox, which knows no namespaces.
    /usr/sbin/ip netns add "c$1"
    /usr/sbin/ip link add "s$1" type veth peer name "c$1" netns "c$1"
    ip addr add "10.0.$1.1/24" dev "s$1" && ip link set "s$1" up
    nsenter --net="/run/netns/c$1" sh -c "ip link set lo up; ip addr add 10.0.$1.2/24 dev c$1; ip link set c$1 up"
    # Two clients of one name would be one client to the server.
    hostname "client-$1"
    mkdir -p "/mnt/$1"
    nsenter --net="/run/netns/c$1" mount -i -t nfs4 -o \
        "vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,addr=10.0.$1.1,clientaddr=10.0.$1.2" \
        "10.0.$1.1:/" "/mnt/$1" || log "client $1 could not mount"
}
cut_link() { ip link set "s$1" down; }
mend_link() { ip link set "s$1" up; }

sleep 12   # the grace period: nothing is opened before it is over
for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do client "$number"; done
log "clients mounted"

TIMES="--heartbeat-interval=1s --heartbeat-timeout=12s --takeover-after=15s"

# guarded SCENE NAME CLIENT PROGRAM...: a guard on the scene's directory; its log, its server's process id and its end are in /run/SCENE
guarded() {
    scene=$1 name=$2 client=$3
    shift 3
    (
        guard run $TIMES --data-dir "/mnt/$client/${DIRECTORY:-$scene}" -- "$@" 2> "/run/$scene/$name.log"
        echo "$? $(now)" > "/run/$scene/$name.end"
    ) &
}

wait_for() {   # wait_for SECONDS FILE
    left=$(($1 * 5))
    while [ ! -s "$2" ] && [ "$left" -gt 0 ]; do sleep 0.2; left=$((left - 1)); done
    [ -s "$2" ] || log "$2 did not appear within $1 s"
}
# Notes when a server has been killed: it is gone, or SIGKILL is pending while a call on the dead link blocks it.
watch_kill() {   # watch_kill SCENE NAME
    pid=$(cut -d' ' -f1 "/run/$1/$2.started")
    while [ -d "/proc/$pid" ] && ! grep -Eq '^(SigPnd|ShdPnd):.*[13579bdf]..$' "/proc/$pid/status" 2>/dev/null; do sleep 0.1; done
    now > "/run/$1/$2.killed"
}
value() { cat "$1" 2>/dev/null || echo none; }
field() { cut -d' ' -f"$2" "$1" 2>/dev/null | grep . || echo none; }

# guard_of SERVER: the process id of its parent
guard_of() { awk '/^PPid:/ { print $2 }' "/proc/$1/status"; }

prepare() { mkdir -p "/run/$1" "/export/$1"; }

# ---- the scenes

# The old server is blocked in a call on the dead link; the new one starts, writes and syncs; the link comes back.
late() {   # late SCENE OLD-CLIENT NEW-CLIENT KIND guarded|unguarded
    scene=$1 old=$2 new=$3 kind=$4 how=$5
    prepare "$scene"
    guarded "$scene" old "$old" /server "$scene" old "$kind" "/mnt/$old/$scene"
    wait_for 30 "/run/$scene/old.ready"
    watch_kill "$scene" old &
    cut_link "$old"
    now > "/run/$scene/cut"
    touch "/run/$scene/go"
    if [ "$how" = guarded ]; then
        guarded "$scene" new "$new" /server "$scene" new "$kind" "/mnt/$new/$scene"
    else
        /server "$scene" new "$kind" "/mnt/$new/$scene" lock-and-wait &
    fi
    wait_for 100 "/run/$scene/new.done"
    mend_link "$old"
    now > "/run/$scene/mended"
    wait_for 100 "/run/$scene/old.end"
    sleep 15
    fact "$scene" cut "$(value "/run/$scene/cut")"
    fact "$scene" old_killed "$(value "/run/$scene/old.killed")"
    fact "$scene" new_started "$(field "/run/$scene/new.started" 2)"
    fact "$scene" new_synced "$(value "/run/$scene/new.done")"
    fact "$scene" mended "$(value "/run/$scene/mended")"
    fact "$scene" old_ended "$(field "/run/$scene/old.end" 2)"
    fact "$scene" old_code "$(field "/run/$scene/old.end" 1)"
    if [ "$kind" = write ]; then
        fact "$scene" kept "$(grep -ac '^new ' "/export/$scene/chunk-000000.000000")"
        fact "$scene" old_lines "$(grep -ac '^old ' "/export/$scene/chunk-000000.000000")"
    else
        fact "$scene" indexmap "$(value "/export/$scene/indexmap")"
    fi
    fact "$scene" end "$(now)"
    kill $(field "/run/$scene/new.started" 1) 2>/dev/null
}

# The link is down for less than the time-out.
short_outage() {
    prepare short_outage
    guarded short_outage old 9 /server short_outage old idle /mnt/9/short_outage
    wait_for 30 /run/short_outage/old.ready
    guarded short_outage new 10 /server short_outage new idle /mnt/10/short_outage
    sleep 3
    cut_link 9; sleep 5; mend_link 9
    sleep 25
    fact short_outage old_end "$(value /run/short_outage/old.end)"
    fact short_outage new_started "$(value /run/short_outage/new.started)"
    fact short_outage end "$(now)"
}

# Another client moves or removes the lock file, and a second guard starts at once.
lost_file() {   # lost_file SCENE COMMAND...
    scene=$1
    shift
    prepare "$scene"
    guarded "$scene" old 1 /server "$scene" old idle "/mnt/1/$scene"
    wait_for 30 "/run/$scene/old.ready"
    watch_kill "$scene" old &
    sleep 5
    (cd "/mnt/2/$scene" && "$@")
    now > "/run/$scene/lost"
    guarded "$scene" new 2 /server "$scene" new idle "/mnt/2/$scene"
    wait_for 60 "/run/$scene/new.started"
    fact "$scene" lost "$(value "/run/$scene/lost")"
    fact "$scene" old_killed "$(value "/run/$scene/old.killed")"
    fact "$scene" old_code "$(field "/run/$scene/old.end" 1)"
    fact "$scene" new_started "$(field "/run/$scene/new.started" 2)"
    fact "$scene" end "$(now)"
}

# guard alone, or guard and server, are stopped for longer than the takeover takes; the client renews its lease meanwhile.
frozen() {   # frozen SCENE guard|group
    prepare "$1"
    guarded "$1" old 1 /server "$1" old idle "/mnt/1/$1"
    wait_for 30 "/run/$1/old.ready"
    guarded "$1" new 2 /server "$1" new idle "/mnt/2/$1"
    sleep 3
    child=$(field "/run/$1/old.started" 1)
    parent=$(guard_of "$child")
    kill -STOP "$parent"
    [ "$2" = group ] && kill -STOP "$child"
    sleep 30
    fact "$1" new_started_while_frozen "$(value "/run/$1/new.started")"
    [ "$2" = group ] && kill -CONT "$child"
    kill -CONT "$parent"
    sleep 15
    fact "$1" old_end "$(value "/run/$1/old.end")"
    fact "$1" new_started "$(value "/run/$1/new.started")"
    fact "$1" end "$(now)"
}

# As a paused machine: the link is cut and guard and server stand still until another guard has taken over.
paused() {
    prepare paused
    guarded paused old 13 /server paused old write /mnt/13/paused
    wait_for 30 /run/paused/old.ready
    child=$(field /run/paused/old.started 1)
    parent=$(guard_of "$child")
    cut_link 13
    kill -STOP "$parent" "$child"
    touch /run/paused/go
    guarded paused new 14 /server paused new write /mnt/14/paused
    wait_for 100 /run/paused/new.done
    mend_link 13
    kill -CONT "$child" "$parent"
    wait_for 90 /run/paused/old.end
    sleep 10
    fact paused old_code "$(field /run/paused/old.end 1)"
    fact paused kept "$(grep -ac '^new ' /export/paused/chunk-000000.000000)"
    fact paused end "$(now)"
}

held() { printf '%-511s\n' 'guard1 held 00000000000000000007 1800000000 a killed task' > "$1/.guard.lock"; }

no_space() {
    mkdir -p /run/no_space /export/small/data
    yes content | head -c 2000000 > /export/small/data/chunk-000000.000000
    echo 1 > /export/small/data/writer.chk
    held /export/small/data
    before=$(cat /export/small/data/*.* | md5sum)
    DIRECTORY=small/data guarded no_space old 1 /server no_space old idle /mnt/1/small/data
    wait_for 60 /run/no_space/old.end
    fact no_space code "$(field /run/no_space/old.end 1)"
    fact no_space error "$(grep '^error:' /run/no_space/old.log)"
    fact no_space unchanged "$([ "$before" = "$(cat /export/small/data/*.* | md5sum)" ] && echo yes || echo no)"
    fact no_space left "$(ls -A /export/small/data | grep -c tmp)"
    fact no_space end "$(now)"
}

handover() {
    prepare handover
    guarded handover old 1 /server handover old idle /mnt/1/handover
    wait_for 30 /run/handover/old.ready
    guarded handover new 2 /server handover new idle /mnt/2/handover
    sleep 6
    fact handover new_started_beside "$(value /run/handover/new.started)"
    kill "$(guard_of "$(field /run/handover/old.started 1)")"
    wait_for 30 /run/handover/old.end
    wait_for 30 /run/handover/new.started
    fact handover old_ended "$(field /run/handover/old.end 2)"
    fact handover new_started "$(field /run/handover/new.started 2)"
    fact handover end "$(now)"
}

cost() {
    prepare cost
    yes content | head -c 268435456 > /export/cost/chunk-000000.000000
    held /export/cost
    guarded cost old 11 /server cost old idle /mnt/11/cost
    wait_for 120 /run/cost/old.started
    fact cost fence "$(grep 'guard: replaced' /run/cost/old.log)"
    fact cost end "$(now)"
}

# Alone and last: it takes the file server away from everybody.
restart() {
    prepare restart
    TIMES="--heartbeat-interval=1s --heartbeat-timeout=50s --takeover-after=55s"
    guarded restart old 11 /server restart old idle /mnt/11/restart
    wait_for 30 /run/restart/old.ready
    stop_file_server
    # As long as real servers have it: a client that was refused tries again after 3, 6 and 12 s, and a lock that is not reclaimed
    # within the grace period is lost.
    echo 45 > /proc/fs/nfsd/nfsv4gracetime
    sleep 3
    start_file_server
    sleep 40
    fact restart old_end "$(value /run/restart/old.end)"
    guarded restart new 12 /server restart new idle /mnt/12/restart
    sleep 5
    fact restart new_started "$(value /run/restart/new.started)"
    fact restart end "$(now)"
}

late late_write_unfenced 3 4 write unguarded &
late late_write_fenced 5 6 write guarded &
late late_rename_unfenced 7 8 rename unguarded &
late late_rename_fenced 11 12 rename guarded &
short_outage &
lost_file moved mv .guard.lock moved &
lost_file removed rm .guard.lock &
frozen frozen_guard guard &
frozen frozen_group group &
paused &
no_space &
handover &
jobs -p > /run/jobs   # not by $(…): a subshell has no jobs
for job in $(cat /run/jobs); do wait "$job"; done
log "scenes played"
cost
restart
for file in /run/*/*.log; do sed "s|^|LOG $file: |" "$file"; done
echo END
poweroff -f
