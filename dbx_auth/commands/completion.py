"""dbx-auth completion: the script that makes a shell complete our verbs, options and names; and its answers."""

from __future__ import annotations

from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem, ShellComplete

from dbx_auth.errors import Refused
from dbx_auth.world import World

from . import Verb

BASH = r"""# Completion of dbx-auth for bash.
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
"""

ZSH = r"""#compdef dbx-auth
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
"""

FISH = r"""# Completion of dbx-auth for fish.
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
"""

POWERSHELL = r"""# Completion of dbx-auth for PowerShell 5.1 and later.
Register-ArgumentCompleter -Native -CommandName dbx-auth -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $line = $commandAst.Extent.Text
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    $line = if ($length -lt $line.Length) { $line.Substring(0, $length) } else { $line.PadRight($length) }
    $before = if ($wordToComplete -match '^--[^=]+=') { $Matches[0] } else { '' }
    $env:COMP_WORDS = $line
    $env:_DBX_AUTH_COMPLETE = 'powershell_complete'
    try {
        & dbx-auth 2>$null | ForEach-Object {
            $kind, $rest = $_ -split ',', 2
            $word, $about = $rest -split "`t", 2
            if ($kind -eq 'plain') {
                $quoted = if ($word -match '[^\w.:/=@%+-]') { "'" + $word.Replace("'", "''") + "'" } else { $word }
                if (-not $about) { $about = $word }
                [System.Management.Automation.CompletionResult]::new($before + $quoted, $word, 'ParameterValue', $about)
            }
        }
    } finally {
        Remove-Item Env:COMP_WORDS
        Remove-Item Env:_DBX_AUTH_COMPLETE
    }
}
"""


class Words(ShellComplete):
    """A shell that sends its line as far as the cursor, and takes lines of `kind,word`, a tab, and what it shows.

    Click's own classes are sent the line cut into words, and bash cuts `https://host` into three.
    """

    escape = "\\"

    def get_completion_args(self) -> tuple[list[str], str]:
        mark = "\ufffc"  # makes a word of what is behind the last space, even if that is nothing
        *words, last = self.split(self.ctx_args["obj"].env.get("COMP_WORDS", "") + mark)
        return words[1:], last.removesuffix(mark)

    def split(self, line: str) -> list[str]:
        """The words of a line as the shell sees them; the last one may be in quotes that are still open."""
        import shlex

        lexer = shlex.shlex(line, posix=True)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", self.escape
        words: list[str] = []
        try:
            words.extend(lexer)
        except ValueError:
            words.append(lexer.token)
        return words

    def source(self) -> str:
        return self.source_template

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value}\t{item.help}" if item.help else f"{item.type},{item.value}"


class Bash(Words):
    name = "bash"
    source_template = BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return f"{item.type},{item.value}"


class Zsh(Words):
    name = "zsh"
    source_template = ZSH


class Fish(Words):
    name = "fish"
    source_template = FISH


class PowerShell(Words):
    name = "powershell"
    source_template = POWERSHELL
    escape = "`"


KINDS: dict[str, type[Words]] = {"bash": Bash, "zsh": Zsh, "fish": Fish, "powershell": PowerShell}
SHELLS = tuple(KINDS)


@click.command(
    cls=Verb,
    examples=(
        "dbx-auth completion bash > ~/.local/share/bash-completion/completions/dbx-auth",
        'dbx-auth completion zsh > "${fpath[1]}/_dbx-auth"',
        "dbx-auth completion fish > ~/.config/fish/completions/dbx-auth.fish",
        "dbx-auth completion powershell >> $PROFILE",
    ),
    reads=("profile", "files"),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes verbs and options, and the names that are on this machine: profiles, hosts, models, clients and
    settings. It asks nobody else.
    """
    click.echo(script(shell).encode(), nl=False)


def script(shell: str) -> str:
    """The script of a shell; it asks `dbx-auth` itself for the words, so it never ages."""
    from dbx_auth.cli import COMPLETE, cli

    return KINDS[shell](cli, {}, "dbx-auth", COMPLETE).source()


def answer(asked: str, world: World) -> int:
    """Print the words that a script asks for, and return the exit code.

    Nobody on the network is asked, and what goes wrong is not told: a person is in the middle of a line.
    """
    from dbx_auth.cli import COMPLETE, cli

    quiet = world._replace(http=_nobody, offline=True, warn=_silence, note=_silence, detail=_silence)
    try:
        kind = KINDS[asked.removesuffix("_complete")]
        click.echo(kind(cli, {"obj": quiet}, "dbx-auth", COMPLETE).complete().encode())
    except Exception:
        return 1
    return 0


def _nobody(*args: object, **rest: object) -> NoReturn:
    raise Refused("completion asks nobody", hint="dbx-auth status")


def _silence(text: str) -> None:
    pass
