# Completion of dbx-auth for fish.
function _dbx_auth_completion
    set -l words (commandline --current-process --cut-at-cursor | string collect)
    set -l before (string match --regex -- '^--[^=]+=' (commandline --current-token --cut-at-cursor))
    COMP_WORDS=$words _DBX_AUTH_COMPLETE=fish_complete dbx-auth 2>/dev/null | while read --local line
        set -l found (string split --max 1 , -- $line)
        switch $found[1]
            case plain
                echo "$before$found[2]"
            case file dir
                __fish_complete_path (commandline --current-token)
        end
    end
end

complete --command dbx-auth --no-files --keep-order --arguments '(_dbx_auth_completion)'
