# Sourced by scripts/test and scripts/demo: steps with progress, one log file each, shown when a step fails.
LOGS=${LOGS:-build/logs}
mkdir -p "$LOGS"

# step NAME TITLE COMMAND...: runs the command with its output in $LOGS/NAME.log and a line on the terminal.
step() {
    local name=$1 title=$2 began=$SECONDS
    shift 2
    printf '%-58s' "$title"
    if "$@" >"$LOGS/$name.log" 2>&1 </dev/null; then
        printf 'ok    %4d s   %s\n' $((SECONDS - began)) "$(summary "$LOGS/$name.log")"
    else
        printf 'FAILED %3d s   see %s\n' $((SECONDS - began)) "$LOGS/$name.log"
        tail -n "${SHOW:-60}" "$LOGS/$name.log"
        FAILED_STEPS+=("$name")
        return 1
    fi
}

# The one line of a log that says how much was done.
summary() {
    grep -E '^(layers: |version: |coverage: all|hostile cases: |findings: |prove: |spin: |[0-9]+ passed, |format: |tidy: |fuzz: |[0-9]+% tests passed)' "$1" | tail -n 1
}
