# bash completion of aerate(1). The program itself knows its command line: this asks it.
_aerate() {
    local word paths=
    COMPREPLY=()
    while read -r word _; do
        case $word in
        :*) paths=$word ;;
        *) COMPREPLY+=("$word") ;;
        esac
    done < <("$1" complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    local typed=${COMP_WORDS[COMP_CWORD]}
    [[ $typed != = ]] || typed=
    case $paths in
    :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$typed") ;;
    :directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$typed") ;;
    esac
} && complete -F _aerate aerate
