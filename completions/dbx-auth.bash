# Completion of dbx-auth for bash.
_dbx_auth_completion() {
    local line=${COMP_LINE:0:COMP_POINT} quote=%q before='' typed answer kind word
    COMPREPLY=()
    answer=$(COMP_WORDS=$line _DBX_AUTH_COMPLETE=bash_complete "$1" 2>/dev/null) || return 0

    typed=${line##*[[:space:]]}
    if [[ ${COMP_WORDS[COMP_CWORD]} == [\"\']* ]]; then
        quote=%s
    elif [[ $COMP_WORDBREAKS == *:* && $typed == *:* ]]; then
        # Bash replaces what is behind the last `:` or `=`, so what is before it must not come again.
        [[ $typed == --*=* ]] && typed=${typed#*=}
        before=${typed%"${typed##*[:=]}"}
    fi
    while IFS=, read -r kind word; do
        if [[ $kind == plain ]]; then
            printf -v word "$quote" "${word#"$before"}"
            COMPREPLY+=("$word")
        elif [[ $kind == file || $kind == dir ]]; then
            compopt -o default 2>/dev/null
        fi
    done <<<"$answer"
}

complete -o nosort -F _dbx_auth_completion dbx-auth 2>/dev/null || # before bash 4.4
    complete -F _dbx_auth_completion dbx-auth
