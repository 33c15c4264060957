# Completion of dbx-auth for PowerShell 5.1 and later.
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
