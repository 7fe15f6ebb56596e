#!/usr/bin/env bash
# A Slurm of one node in one folder, of Debian's packages: no systemd, no cgroups, no accounting.
#   tests/slurm/slurm.sh start DIR     then: export SLURM_CONF=DIR/slurm.conf PATH=DIR/bin:$PATH
#   tests/slurm/slurm.sh stop DIR      its daemons end; the folder is yours to delete
# Needs root and `apt-get install slurm-wlm munge`. Nothing outside of DIR is written. The node says
# that it has 4 cores, whatever is there, and two GPUs that are none, to be handed out and told apart.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

start() {
    mkdir -p "$dir/state" "$dir/spool" "$dir/bin"
    chmod 755 "$dir"
    node=$(hostname -s)
    memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
    # free ports of the kernel's choice, since another test may run a Slurm of its own
    read -r one two < <(python3 -c 'import socket
a, b = socket.socket(), socket.socket()
a.bind(("", 0)); b.bind(("", 0))
print(a.getsockname()[1], b.getsockname()[1])')
    head -c 1024 /dev/urandom > "$dir/munge.key"
    chmod 400 "$dir/munge.key"
    cat > "$dir/slurm.conf" << END
ClusterName=one
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$one
SlurmdPort=$two
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory Gres=gpu:2
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
END
    printf 'NodeName=%s Name=gpu File=%s\n' "$node" /dev/null "$node" /dev/zero > "$dir/gres.conf"
    export SLURM_CONF=$dir/slurm.conf
    # within a job Snakemake calls srun without SLURM_CONF: it counts on one in /etc
    printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$dir/bin/srun"
    chmod +x "$dir/bin/srun"
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
        --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munged.seed" \
        2> "$dir/munged.said"
    slurmctld -f "$SLURM_CONF"
    slurmd -f "$SLURM_CONF"
    for _ in $(seq 100); do
        [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && return
        sleep 0.2
    done
    tail -n 5 "$dir"/*.log >&2
    stop
    exit 1
}

stop() {
    export SLURM_CONF=$dir/slurm.conf
    scancel --full --quiet --user=root 2> /dev/null || true # what still runs would outlive it
    for daemon in slurmd slurmctld munged; do
        [ -f "$dir/$daemon.pid" ] || continue
        pid=$(cat "$dir/$daemon.pid")
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 50); do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2> /dev/null || true
    done
}

dir=$(realpath -m "$2")
"$1"
