# Completion of deploy.py for fish: ./scripts/deploy.py completion fish | source

set -l verbs up plan verify status doctor add remove down kubectl completion
set -l playbooks up plan verify status doctor add remove down

complete -c deploy.py -f
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a up -d "make the cluster, or bring it to what the inventory says"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a plan -d "show what up would change"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a verify -d "prove that the cluster works"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a status -d "tell how nodes, pods, certificates and hosts are"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a doctor -d "find what is wrong, and repair it"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a add -d "add hosts of the inventory to the cluster"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a remove -d "drain hosts, reset them, take them out"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a down -d "take the cluster away"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a kubectl -d "run the cluster's own kubectl"
complete -c deploy.py -n "not __fish_seen_subcommand_from $verbs" -a completion -d "print the completion script of a shell"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks kubectl" -s i -l inventory -r -F -d "inventory directory or file"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks" -l limit -x -d "only these hosts or groups"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks" -s e -x -d "a variable for this run: key=value"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks" -l timeout -x -d "give up after so many seconds"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks" -l json -d "one event a line on stdout"
complete -c deploy.py -n "__fish_seen_subcommand_from $playbooks" -s v -l verbose -d "tell every task"
complete -c deploy.py -n "__fish_seen_subcommand_from down remove" -l yes -d "do not ask"
complete -c deploy.py -n "__fish_seen_subcommand_from down" -l adopt -d "also a cluster that Yunkube did not make"
complete -c deploy.py -n "__fish_seen_subcommand_from remove" -l force -d "delete pods that would be lost"
complete -c deploy.py -n "__fish_seen_subcommand_from remove" -l dead -d "the hosts do not answer"
complete -c deploy.py -n "__fish_seen_subcommand_from remove" -l drain-timeout -x -d "seconds for the pods to leave"
complete -c deploy.py -n "__fish_seen_subcommand_from status" -l watch -d "look again and again"
complete -c deploy.py -n "__fish_seen_subcommand_from status" -l interval -x -d "seconds between two looks"
complete -c deploy.py -n "__fish_seen_subcommand_from doctor" -l fix -d "repair what is safe to repair"
complete -c deploy.py -n "__fish_seen_subcommand_from doctor" -l only -x -d "this fault alone"
complete -c deploy.py -n "__fish_seen_subcommand_from doctor" -l allow -x -d "this fault, too, though its repair is not safe"
complete -c deploy.py -n "__fish_seen_subcommand_from doctor" -l dry-run -d "say what would be done"
complete -c deploy.py -n "__fish_seen_subcommand_from completion" -a "bash zsh fish"
