#!/bin/bash
# A real Slurm on one machine, for tests and for trying things out: munge, a controller, virtual nodes
# on loopback with pretended GPUs. As root; needs (Debian, Ubuntu):
#   apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
#   apt-get install --no-install-recommends slurmdbd mariadb-server     # for sacct as well: DBD=1
#
#   slurm/test-cluster.sh up /tmp/slurm      then: export SLURM_CONF=/tmp/slurm/slurm.conf
#   slurm/test-cluster.sh down /tmp/slurm
#   GPUS=0 slurm/test-cluster.sh up /tmp/slurm         nodes of which Slurm knows no GPUs
#   touch /tmp/slurm/prolog-fails                      no node can start a job while this file is there
#   slurm/test-cluster.sh kill-node /tmp/slurm n1      as if its power were cut; start-node brings it back
#   slurm/test-cluster.sh kill-controller /tmp/slurm   likewise; start-controller brings it back
set -euo pipefail
COMMAND=$1
ROOT=$2
NODES=${NODES:-2}
GPUS=${GPUS:-2}
PORT=${PORT:-16817} # of the controller; nodes and accounting take those after it
HOST=$(hostname -s)
export SLURM_CONF=$ROOT/slurm.conf
SOCKET=$ROOT/msock/munge.socket

# PID 1 of a container may not reap: a zombie has stopped
state_of() { sed -n 's/^State:\s*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true; }

stop() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 150); do
    case "$(state_of "$pid")" in "" | Z) return 0 ;; esac
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

write_config() {
  cat >"$ROOT/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a short life of credentials lets requeued jobs start again at once
AuthInfo=socket=$SOCKET,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$ROOT/log/jobcomp.txt
ReturnToService=2
SlurmctldPort=$PORT
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool/%n
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd.%n.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SlurmdTimeout=15
KillWait=5
MinJobAge=60
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
MaxArraySize=${MAX_ARRAY:-1001}
MaxJobCount=20000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
Prolog=$ROOT/prolog.sh
$([ "$GPUS" = 0 ] || echo GresTypes=gpu)
NodeName=n[0-$((NODES - 1))] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT + 10))-$((PORT + 9 + NODES))] CPUs=4 RealMemory=16000 $([ "$GPUS" = 0 ] || echo "Gres=gpu:$GPUS") State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 DefMemPerCPU=1500 PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=INFINITE DefaultTime=10 DefMemPerCPU=100 PriorityTier=10 PreemptMode=OFF
PartitionName=short Nodes=ALL MaxTime=5 DefaultTime=1 DefMemPerCPU=1500 PriorityTier=1
CONF
  # what a site does before each job; as broken as on a bad day while a file says so
  printf '#!/bin/sh\n[ ! -e "%s/prolog-fails" ]\n' "$ROOT" >"$ROOT/prolog.sh"
  chmod 755 "$ROOT/prolog.sh"
  [ "$GPUS" != 0 ] || return 0
  # a pretended GPU must be a character device, or CUDA_VISIBLE_DEVICES stays empty
  echo "NodeName=n[0-$((NODES - 1))] Name=gpu File=$(echo /dev/null,/dev/zero,/dev/full,/dev/random | cut -d, -f1-"$GPUS")" >"$ROOT/gres.conf"
}

start_accounting() {
  printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd AccountingStorageHost=127.0.0.1 \
    AccountingStoragePort=$((PORT + 1)) "AccountingStoragePass=$SOCKET" >>"$ROOT/slurm.conf"
  [ -d "$ROOT/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$ROOT/db" \
    --auth-root-authentication-method=socket --skip-test-db >"$ROOT/log/install-db.log" 2>&1
  export MYSQL_UNIX_PORT=$ROOT/run/mysql.sock
  setsid mariadbd --no-defaults --user=root --datadir="$ROOT/db" --socket="$MYSQL_UNIX_PORT" --skip-networking \
    --pid-file="$ROOT/run/mysql.pid" --innodb-buffer-pool-size=64M >"$ROOT/log/mysql.log" 2>&1 </dev/null &
  for _ in $(seq 200); do
    mariadb -S "$MYSQL_UNIX_PORT" -e 'create database if not exists slurm_acct_db' 2>/dev/null && break
    sleep 0.1
  done
  printf '%s\n' AuthType=auth/munge "AuthInfo=socket=$SOCKET" DbdHost=localhost DbdAddr=127.0.0.1 DbdPort=$((PORT + 1)) \
    SlurmUser=root StorageType=accounting_storage/mysql StorageHost=localhost StorageUser=root \
    StorageLoc=slurm_acct_db "LogFile=$ROOT/log/slurmdbd.log" "PidFile=$ROOT/run/slurmdbd.pid" >"$ROOT/slurmdbd.conf"
  chmod 600 "$ROOT/slurmdbd.conf"
  slurmdbd
  for _ in $(seq 200); do sacctmgr -n list cluster >/dev/null 2>&1 && break; sleep 0.1; done
  sacctmgr -i add cluster test >/dev/null 2>&1 || true
}

up() {
  mkdir -p "$ROOT"/{munge,msock,state,spool,log,run}
  chmod 755 "$ROOT" "$ROOT/msock"
  chmod 700 "$ROOT/munge"
  [ -s "$ROOT/munge/key" ] || { head -c128 /dev/urandom >"$ROOT/munge/key" && chmod 400 "$ROOT/munge/key"; }
  write_config
  munged --key-file="$ROOT/munge/key" --socket="$SOCKET" --pid-file="$ROOT/munge/pid" \
    --log-file="$ROOT/munge/log" --seed-file="$ROOT/munge/seed"
  [ -z "${DBD:-}" ] || start_accounting
  slurmctld
  for n in $(seq 0 $((NODES - 1))); do slurmd -N "n$n"; done
  for _ in $(seq 100); do
    [ "$(timeout 2 sinfo -h -N -p gpu -t idle -o %N 2>/dev/null | wc -l)" = "$NODES" ] && return 0
    sleep 0.2
  done
  tail -n 20 "$ROOT"/log/*.log >&2
  return 1
}

down() {
  timeout 5 scancel --me -f 2>/dev/null || true
  timeout 5 scancel --me 2>/dev/null || true
  for _ in $(seq 50); do
    [ -z "$(timeout 2 squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
  stop "$ROOT/run/slurmctld.pid"
  for file in "$ROOT"/run/slurmd.*.pid; do stop "$file"; done
  stop "$ROOT/run/slurmdbd.pid"
  stop "$ROOT/run/mysql.pid"
  stop "$ROOT/munge/pid"
}

kill_node() {
  kill -9 "$(cat "$ROOT/run/slurmd.$1.pid")"
  # everything that ran on the node, down to the workers; another cluster may have a node of this name
  for step in $(pgrep -f "slurmstepd: \[" || true); do
    if [ "$(tr '\0' '\n' <"/proc/$step/environ" 2>/dev/null | grep -cx "SLURMD_NODENAME=$1\|SLURM_CONF=$SLURM_CONF")" = 2 ] ||
      grep -qs "$ROOT/spool/$1/" "/proc/$step/maps" || ls -l "/proc/$step/fd" 2>/dev/null | grep -q "$ROOT/spool/$1/\|slurmd.$1.log"; then
      pkill -9 -P "$step" || true
      kill -9 "$step" || true
    fi
  done
}

case "$COMMAND" in
  up) up ;;
  down) down ;;
  kill-node) kill_node "$3" ;;
  start-node) slurmd -N "$3" ;;
  kill-controller) kill -9 "$(cat "$ROOT/run/slurmctld.pid")" ;;
  start-controller) slurmctld ;;
  *) echo "$0: unknown command '$COMMAND'" >&2 && exit 2 ;;
esac
