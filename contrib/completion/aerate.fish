# fish completion of aerate(1). The program itself knows its command line: this asks it.
function __aerate_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    for line in ($words[1] complete $words[2..-1] "$typed" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$typed"
            case ':directories'
                __fish_complete_directories "$typed" ''
            case '*'
                string replace '  ' \t -- $line
        end
    end
end
complete -c aerate -f -a '(__aerate_complete)'
