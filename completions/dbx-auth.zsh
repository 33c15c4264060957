#compdef dbx-auth
# Completion of dbx-auth for zsh.
_dbx_auth_completion() {
    local line kind word
    local -a found shown
    line="${(j: :)words[1,CURRENT-1]} $compstate[quote]$PREFIX"
    for line in "${(@f)$(COMP_WORDS=$line _DBX_AUTH_COMPLETE=zsh_complete dbx-auth 2>/dev/null)}"; do
        kind=${line%%,*} word=${line#*,}
        case $kind in
            plain) found+=("${word%%$'\t'*}") shown+=("${word/$'\t'/  -- }") ;;
            file | dir) _files ;;
        esac
    done
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    (( $#found )) && compadd -V dbx-auth -l -d shown -a found
}

if [[ $funcstack[1] == _dbx-auth ]]; then # called by its name in fpath
    _dbx_auth_completion "$@"
else
    compdef _dbx_auth_completion dbx-auth
fi
