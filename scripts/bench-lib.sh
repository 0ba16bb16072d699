# Shared by the bench scripts: a virtual LAN, daemons spoken to over JSON lines, what is measured of them, and the table in
# the end. Sourced after lib.sh.

[ "$(id -u)" -eq 0 ] || die "needs root for network namespaces"
need ip=iproute2 jq=jq taskset=util-linux nsenter=util-linux
export PATH=$PATH:/usr/sbin:/sbin

TAG=lsbench$$
mkdir -p "${BENCH_DIR:=$PWD/target}"
WORK=$(mktemp -d "$(realpath "$BENCH_DIR")/bench.XXXXXX")
PIDS=() NEIGHBOURS=()

cleanup() {
    local pid ns old try
    # A second signal must not end this half-way.
    trap '' INT TERM
    # More than once: a signal that comes between fork and exec is lost. The last one cannot be.
    for ((try = 0; try < 100; try++)); do
        pid=$(jobs -pr)
        [ -n "$pid" ] || break
        # shellcheck disable=SC2086 # a list
        if [ "$try" -lt 99 ]; then kill $pid 2>/dev/null || true; else kill -KILL $pid 2>/dev/null || true; fi
        sleep 0.1
    done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    for old in "${NEIGHBOURS[@]}"; do echo "${old#*=}" >"${old%%=*}"; done
    # What a script made outside of $WORK and the namespaces.
    if declare -F cleanup_more >/dev/null; then cleanup_more; fi
    for ns in $(ip netns list | awk -v tag="$TAG" 'index($1, tag) == 1 { print $1 }'); do ip netns del "$ns"; done
    rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# neighbours COUNT: room for as many hosts that all know each other. All namespaces share one table of neighbours, where Linux has
# room for 1024: with some 40 hosts packets get lost in a way that no real network knows.
neighbours() {
    local file old wanted=$(($1 * $1 * 4))
    [ "$1" -gt 16 ] || return 0
    for file in /proc/sys/net/ipv[46]/neigh/default/gc_thresh[123]; do
        old=$(<"$file")
        [ "$old" -lt "$wanted" ] || continue
        NEIGHBOURS+=("$file=$old")
        echo "$wanted" >"$file"
    done
}

# lan COUNT: hosts $TAG-1 … $TAG-COUNT with the addresses 10.77.0.N on one bridge, with an MTU of MTU (1500).
lan() {
    local i mtu=${MTU:-1500}
    neighbours "$1"
    ip netns add "$TAG-sw"
    ip -n "$TAG-sw" link add br0 type bridge mcast_snooping 0
    ip -n "$TAG-sw" link set br0 up
    for ((i = 1; i <= $1; i++)); do
        ip netns add "$TAG-$i"
        ip -n "$TAG-$i" link set lo up
        ip link add eth0 netns "$TAG-$i" type veth peer name "p$i" netns "$TAG-sw"
        ip -n "$TAG-sw" link set "p$i" master br0 up mtu "$mtu"
        ip -n "$TAG-$i" link set eth0 up mtu "$mtu"
        ip -n "$TAG-$i" addr add "10.77.0.$i/24" dev eth0
    done
}

# shape N RATE: what host N sends leaves at that rate (such as 1000mbit), with a queue of 1 MB.
shape() {
    local mbit=${2%mbit}
    [[ $mbit =~ ^[0-9]+$ ]] || die "a rate in mbit, such as 1000mbit, not $2"
    # One MTU of burst would starve the timer of tbf: the burst is what two milliseconds carry.
    tc -n "$TAG-$1" qdisc replace dev eth0 root tbf rate "${mbit}mbit" burst $((mbit * 250 < 32768 ? 32768 : mbit * 250))b limit 1mb
}

# wire N RATE: the same as a network card and a cable do it: every packet leaves at its own time, and no end puts packets together. The
# card's queue is as long as that of `shape`. The kernel of the sender works for each packet: look at the receiver, and at counts.
wire() {
    local mbit=${2%mbit} mtu=${MTU:-1500} off="gso off tso off gro off"
    [[ $mbit =~ ^[0-9]+$ ]] || die "a rate in mbit, such as 1000mbit, not $2"
    need ethtool=ethtool tc=iproute2
    # shellcheck disable=SC2086 # words
    on "$1" ethtool -K eth0 $off >/dev/null
    # shellcheck disable=SC2086
    nsenter --net="/run/netns/$TAG-sw" -- ethtool -K "p$1" $off >/dev/null
    # Two packets: less could never send the second one in time.
    tc -n "$TAG-$1" qdisc replace dev eth0 root tbf rate "${mbit}mbit" burst "$((2 * (mtu + 100)))b" limit 1mb
}

# on N COMMAND…: runs it on host N; costs less than `ip netns exec`, which mounts /sys anew.
on() { nsenter --net="/run/netns/$TAG-$1" -- "${@:2}"; }

# pin CORE PID [THREAD]: keeps a process, or only its threads of that name, on one core. PIN=0 leaves all to the scheduler.
pin() {
    local task found=0
    [ "${PIN:-1}" = 1 ] || return 0
    for task in "/proc/$2/task/"*; do
        [ -z "${3:-}" ] || [ "$(<"$task/comm")" = "$3" ] || continue
        taskset -pc "$1" "${task##*/}" >/dev/null
        found=1
    done
    [ "$found" = 1 ] || die "process $2 has no thread ${3:-}"
}

# daemon N FLAG…: starts one on host N with the directories $WORK/N/{games,state}; its records go to $WORK/N/out. The words of
# the array WRAP stand before the program.
WRAP=() OPENED=() DAEMONS=()
daemon() {
    local n=$1 dir=$WORK/$1
    shift
    mkdir -p "$dir/games" "$dir/state"
    rm -f "$dir/in"
    : >"$dir/out"
    mkfifo "$dir/in"
    : >"$dir/out"
    (
        # The others' commands would have no end as long as this one holds them open as well.
        for fd in "${OPENED[@]}"; do eval "exec $fd>&-"; done
        # In this order: `ip netns exec` hides the control groups.
        exec "${WRAP[@]}" ip netns exec "$TAG-$n" "$BIN" run --jsonl --game-dir "$dir/games" --state-dir "$dir/state" "$@" \
            <"$dir/in" >"$dir/out" 2>"$dir/log"
    ) &
    PID=$!
    PIDS+=("$PID")
    eval "exec $((20 + n))>\"$dir/in\""
    OPENED[n]=$((20 + n)) DAEMONS[n]=$PID
    await "$n" '.event == "local-peer-ready"' >/dev/null
}

# tell N JSON: sends one command to daemon N.
tell() { printf '%s\n' "$2" >&$((20 + $1)); }

# await N FILTER: prints the first record of daemon N that the jq filter accepts; gives up after 10 minutes of silence, or at its end.
# It follows the file instead of polling it: on two cores a busy loop would be part of the measurement.
await() {
    local out=$WORK/$1/out known line part='' record follower silence=0
    # What is there already goes through one jq: a start of it for every record of a large library takes minutes.
    known=$(wc -l <"$out")
    record=$(head -n "$known" "$out" | jq -nc "first(inputs | select($2))" 2>/dev/null || true)
    if [ -z "$record" ] && ! head -n "$known" "$out" | grep '"event":"download-failed"' >/dev/null; then
        exec 9< <(exec tail -n "+$((known + 1))" -f "$out" 2>/dev/null)
        follower=$!
        while [ -z "$record" ]; do
            if read -r -t 5 line <&9; then
                record=$(jq -c "select($2)" <<<"$part$line")
                [[ $part$line == *'"event":"download-failed"'* ]] && break
                part='' silence=0
            else
                part+=$line silence=$((silence + 5))
                if [ "$silence" -ge 600 ] || ! kill -0 "${DAEMONS[$1]}" 2>/dev/null; then break; fi
            fi
        done
        kill "$follower" 2>/dev/null || true
        exec 9<&-
    fi
    if [ -z "$record" ]; then
        tail -n 20 "$WORK/$1/log" >&2
        die "daemon $1 never said $2; last: $(tail -n 1 "$out")"
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

# games COUNT DIRECTORY [PREFIX]: that many small games, each with a folder and a file in it.
games() {
    local i dir
    for ((i = 1; i <= $1; i++)); do
        dir=$2/${3:-}game-$i
        mkdir -p "$dir/data"
        printf '1.0\n' >"$dir/version.ini"
        printf 'game %s%d' "${3:-}" "$i" >"$dir/game.eti"
        printf 'more of %s%d' "${3:-}" "$i" >"$dir/data/more.bin"
    done
}

# hashed N: waits until daemon N has hashed its library, which it does once, in the background.
hashed() { while [ "$(ask "$1" status | jq .hash_queue)" != 0 ]; do sleep 0.2; done; }

# acquaint N [ADDR]: connects daemon N with the daemon there (10.77.0.1:7700), and waits until it knows what that one has.
acquaint() {
    tell "$1" "{\"id\":1,\"cmd\":\"connect\",\"addr\":\"${2:-10.77.0.1:7700}\"}"
    tell "$1" '{"id":2,"cmd":"wait-peers","count":1,"timeout_ms":30000}'
    await "$1" '.id == 2 and .type == "result"' >/dev/null
}

# warm MIB: free memory that a virtual machine has given back to its host costs several times the copy at its first touch, and
# which run gets it is luck: so each one finds as much warm page cache as it needs, and no write-back of the one before.
warm() {
    sync
    dd if=/dev/zero of="$WORK/warm" bs=1M count="$1" status=none
    rm "$WORK/warm"
}

# quit N: ends daemon N cleanly.
quit() {
    eval "exec $((20 + $1))>&-"
    unset "OPENED[$1]"
}

# cpu PID…: seconds of user and system time so far, of the processes and their reaped children.
cpu() {
    local pid
    for pid in "$@"; do sed 's/.*) //' "/proc/$pid/stat"; done | awk -v hz="$(getconf CLK_TCK)" '{ s += $12 + $13 + $14 + $15 } END { printf "%.2f\n", s / hz }'
}

# sleeps PID [THREAD]: how often a process (its main thread), or its thread of that name, has gone to sleep so far.
sleeps() {
    local task
    for task in "/proc/$1/task/"*; do
        if [ "${2:-}" = "" ] && [ "${task##*/}" != "$1" ]; then continue; fi
        if [ -z "${2:-}" ] || [ "$(<"$task/comm")" = "$2" ]; then awk '/^voluntary/ { print $2 }' "$task/status"; fi
    done
}

median() { sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# What tables are made with: the tools of the runs in the order of their first run, and rows of texts as aligned columns.
JQ_TABLES='
    def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
    def tools: reduce .[].tool as $t ([]; if index([$t]) then . else . + [$t] end);
    def columns: (transpose | map(map(length) | max)) as $widths
        | .[] | [., $widths] | transpose | map(.[0] + " " * (.[1] - (.[0] | length))) | join("  ") | sub(" +$"; "");'

# table REFERENCE WAY FILE: the runs in FILE (a JSON object each: `tool`, `name`, `mb_per_s`, `cpu_s_per_gib`) as a table: medians
# and ranges of each tool, and how it and REFERENCE compare: WAY=over is REFERENCE / tool, WAY=under tool / REFERENCE. Such a
# ratio is made of each round, because the machine is faster in one than in another; its median and range are shown.
table() {
    jq -rs --arg reference "$1" --arg way "$2" "$JQ_TABLES"'
        def number(digits): . * pow(10; digits) | round / pow(10; digits) | tostring
            | if digits > 0 then (split(".") + ["0"]) as [$i, $f] | $i + "." + ($f + "000")[:digits] else . end;
        def spread(digits): [(median | number(digits)), "\(min | number(digits))–\(max | number(digits))"];
        def ratio(own; other): [own, other] | transpose | map(if $way == "over" then .[1] / .[0] else .[0] / .[1] end) | spread(2) | "\(.[0]) (\(.[1]))";
        . as $runs
        | def of(tool; key): [$runs[] | select(.tool == tool)[key]];
        [tools[] as $t
            | [($runs | map(select(.tool == $t))[0].name)]
            + (of($t; "mb_per_s") | spread(0)) + (of($t; "cpu_s_per_gib") | spread(2))
            + if $t == $reference or (tools | index([$reference]) | not) then ["", ""]
              else [ratio(of($t; "mb_per_s"); of($reference; "mb_per_s")), ratio(of($t; "cpu_s_per_gib"); of($reference; "cpu_s_per_gib"))] end]
        | [["tool", "MB/s", "range", "CPU s/GiB", "range"]
            + if $way == "over" then ["\($reference)/it: rate", "CPU"] else ["it/\($reference): rate", "CPU"] end] + .
        | columns' "$3"
}

# results FILE KEY=VALUE…: the runs in FILE with what they were run on and the given keys (the values are JSON), as one JSON object.
results() {
    local file=$1 pair head
    shift
    head=$(jq -n --arg date "$(date -u +%FT%TZ)" --arg kernel "$(uname -sr)" --argjson cores "$(nproc)" \
        --arg cpu "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" --arg version "$("$BIN" --version)" \
        '{date: $date, kernel: $kernel, cores: $cores, cpu: $cpu, version: $version}')
    for pair in "$@"; do
        head=$(jq --arg key "${pair%%=*}" --argjson value "${pair#*=}" '.[$key] = $value' <<<"$head")
    done
    jq -s --argjson head "$head" '
        . as $runs
        | (reduce .[].tool as $t ([]; if index([$t]) then . else . + [$t] end)) as $tools
        | $head + {tools: [$tools[] as $t | [$runs[] | select(.tool == $t)]
            | {tool: $t, name: .[0].name} + ([.[] | del(.tool, .name)] | (.[0] | keys_unsorted) as $keys | . as $rows
                | reduce $keys[] as $k ({}; .[$k] = [$rows[][$k]]))]}' "$file"
}
