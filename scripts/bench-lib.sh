# Shared by the bench scripts: a virtual LAN, daemons spoken to over JSON lines. Sourced after lib.sh.

[ "$(id -u)" -eq 0 ] || die "needs root for network namespaces"
need ip=iproute2 jq=jq
export PATH=$PATH:/usr/sbin:/sbin

TAG=lsbench$$
WORK=$(mktemp -d "${BENCH_DIR:-$PWD/target}/bench.XXXXXX")
PIDS=()

cleanup() {
    local pid ns
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    for ns in $(ip netns list | awk -v tag="$TAG" 'index($1, tag) == 1 { print $1 }'); do ip netns del "$ns"; done
    rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# lan COUNT: hosts $TAG-1 … $TAG-COUNT with the addresses 10.77.0.N on one bridge, MTU 1500.
lan() {
    local i
    ip netns add "$TAG-sw"
    ip -n "$TAG-sw" link add br0 type bridge mcast_snooping 0
    ip -n "$TAG-sw" link set br0 up
    for ((i = 1; i <= $1; i++)); do
        ip netns add "$TAG-$i"
        ip -n "$TAG-$i" link set lo up
        ip link add eth0 netns "$TAG-$i" type veth peer name "p$i" netns "$TAG-sw"
        ip -n "$TAG-sw" link set "p$i" master br0 up
        ip -n "$TAG-$i" link set eth0 up mtu 1500
        ip -n "$TAG-$i" addr add "10.77.0.$i/24" dev eth0
    done
}

# daemon N FLAG…: starts one on host N with the directories $WORK/N/{games,state}; its records go to $WORK/N/out.
daemon() {
    local n=$1 dir=$WORK/$1
    shift
    mkdir -p "$dir/games" "$dir/state"
    rm -f "$dir/in" "$dir/out"
    mkfifo "$dir/in"
    ip netns exec "$TAG-$n" "$BIN" run --jsonl --game-dir "$dir/games" --state-dir "$dir/state" "$@" \
        <"$dir/in" >"$dir/out" 2>"$dir/log" &
    PID=$!
    PIDS+=("$PID")
    eval "exec $((20 + n))>\"$dir/in\""
    await "$n" '.event == "local-peer-ready"' >/dev/null
}

# tell N JSON: sends one command to daemon N.
tell() { printf '%s\n' "$2" >&$((20 + $1)); }

# await N FILTER: prints the first record of daemon N that the jq filter accepts; gives up after 10 minutes of silence.
# It follows the file instead of polling it: on two cores a busy loop would be part of the measurement.
await() {
    local line record= follower
    exec 9< <(exec tail -n +1 -f "$WORK/$1/out" 2>/dev/null)
    follower=$!
    while [ -z "$record" ] && read -r -t 600 line <&9; do
        record=$(jq -c "select($2)" <<<"$line")
        [[ $line == *'"event":"download-failed"'* ]] && break
    done
    kill "$follower" 2>/dev/null || true
    exec 9<&-
    if [ -z "$record" ]; then
        tail -n 20 "$WORK/$1/log" >&2
        die "daemon $1 never said $2; last: $(tail -n 1 "$WORK/$1/out")"
    fi
    printf '%s\n' "$record"
}

# ask N CMD: sends {"cmd":CMD} with a fresh id, prints the data of the answer.
ASKED=0
ask() {
    ASKED=$RANDOM$RANDOM
    tell "$1" "{\"id\":$ASKED,\"cmd\":\"$2\"}"
    await "$1" "(.type == \"result\" or .type == \"error\") and .id == $ASKED" | jq -c .data
}

# quit N: ends daemon N cleanly.
quit() { eval "exec $((20 + $1))>&-"; }

# cpu PID…: seconds of user and system time so far, of the processes and their reaped children.
cpu() {
    local pid
    for pid in "$@"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk -v hz="$(getconf CLK_TCK)" '{ s += $12 + $13 } END { printf "%.2f\n", s / hz }'
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
