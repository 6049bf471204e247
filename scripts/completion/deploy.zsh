#compdef deploy.py
# Completion of deploy.py for zsh: eval "$(./scripts/deploy.py completion zsh)"

_yunkube_deploy() {
  local -a verbs playbook inventory limit
  verbs=(
    'up:make the cluster, or bring it to what the inventory says'
    'plan:show what up would change, and change nothing'
    'verify:prove that the cluster works'
    'status:tell how nodes, pods, certificates and hosts are'
    'doctor:find what is wrong with hosts and cluster, and repair it'
    'support-bundle:gather logs and states of all hosts in one archive'
    'add:add hosts of the inventory to the cluster'
    'remove:drain hosts, reset them, and take them out of the cluster'
    'reattach:attach an inventory again to the cluster of its hosts'
    'down:take the cluster away'
    'dashboard:say where the dashboard is and how to get in, and open it'
    'cloud:create and remove the hosts of a cluster on Alibaba Cloud'
    'web:deploy web services, or take one back to the version before'
    'image:push an image to the cluster'\''s registry'
    'import:write an inventory from one of another project'
    'kubectl:run the cluster'\''s own kubectl against it'
    'completion:print the completion script of a shell'
  )
  inventory=('(-i --inventory)'{-i,--inventory}'[inventory directory or file]:inventory:_files')
  limit=('--limit[only these hosts or groups]:pattern:')
  playbook=(
    $inventory
    '*-e[a variable for this run]:key=value:'
    '(-J --ask-vault-pass)'{-J,--ask-vault-pass}'[ask for the password of vaulted files]'
    '*--vault-password-file[a file with that password]:file:_files'
    '(-k --ask-pass)'{-k,--ask-pass}'[ask for the password of the login on the hosts]'
    '(-K --ask-become-pass)'{-K,--ask-become-pass}'[ask for the password of sudo on the hosts]'
    '--timeout[give up after so many seconds]:seconds:'
    '--json[one event a line on stdout]'
    '*'{-v,--verbose}'[tell every task]'
    '(-h --help)'{-h,--help}'[show help]'
  )
  if (( CURRENT == 2 )); then
    _describe command verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
    up|plan) _arguments -s $playbook $limit ;;
    verify) _arguments -s $playbook ;;
    status) _arguments -s $playbook '--watch[look again and again]' '--interval[seconds between two looks]:seconds:' ;;
    doctor)
      _arguments -s $playbook '--fix[repair what is safe to repair]' '*--only[this fault alone]:fault:' \
        '*--allow[this fault, too, though its repair is not safe]:fault:' '--dry-run[say what would be done]'
      ;;
    support-bundle) _arguments -s $playbook $limit '--output[where to write it]:file:_files' ;;
    add) _arguments -s $playbook '*:host:' ;;
    remove)
      _arguments -s $playbook '--yes[do not ask]' '--force[delete pods that would be lost]' \
        '--delete-emptydir-data[evict pods that keep data on the host]' \
        '--dead[the hosts do not answer]' '--drain-timeout[seconds for the pods to leave]:seconds:' '*:host:'
      ;;
    down)
      _arguments -s $playbook '--yes[do not ask]' '*--dead[this host does not answer and never will]:host:' \
        '--force[delete the images in the registry, too]' '--adopt[also a cluster that Yunkube did not make]'
      ;;
    dashboard)
      _arguments $inventory '--print[open no browser]' '--admin[a token with all rights]' '--viewer[a token that may only look]' '--json[an object on stdout]'
      ;;
    cloud)
      _arguments -s $playbook '--yes[do not ask]' '1:action:(up plan status down)'
      ;;
    web)
      _arguments -s $playbook '--yes[do not ask]' '--prune-data[remove also what holds data]' '(-n --namespace)'{-n,--namespace}'[of the web service]:namespace:' \
        '1:action:(apply rollback)' '2:web service:'
      ;;
    import) _arguments $inventory '1:project:(kubespray kubeasz k3s-ansible)' '2:inventory:_files' ;;
    image) _arguments $inventory '--json[an object on stdout]' '1:action:(push)' '2:image:' ;;
    kubectl) _arguments $inventory '*::kubectl arguments:' ;;
    completion) _arguments '1:shell:(bash zsh fish)' ;;
  esac
}

compdef _yunkube_deploy deploy.py
