#!/usr/bin/env bash
# The games that a running lanspread knows, by size, with how many PCs have each. Needs curl and jq.
#   games.sh [STATE-DIR]     that of the daemon; ~/.local/state/lanspread by default
set -euo pipefail
control=${1:-$HOME/.local/state/lanspread}/control.json
[ -r "$control" ] || { echo "no daemon runs there: $control is missing" >&2; exit 4; }
url=$(jq -r .url "$control")

# The token goes in by a file that only curl sees: arguments are visible to everybody on this PC.
ask() {
    curl -sS --noproxy '*' --fail-with-body -H @<(jq -r '"Authorization: Bearer " + .token' "$control") "$@"
}

ask "$url/api/v1/games" |
    jq -r '.games | sort_by(-.size)[] | [.id, .version // "?", .size, (.sources | length), if .downloaded then "here" else "" end] | @tsv'

# A command, for those who want to go on from here:
#   ask --json '{"cmd":"download","game":"doom"}' "$url/api/v1/command"
# Events, as they come:
#   ask -N "$url/api/v1/events" | sed -un 's/^data: //p' | jq -c .
