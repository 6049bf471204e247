#compdef deploy.py
# Completion of deploy.py for zsh: eval "$(./scripts/deploy.py completion zsh)"

_yunkube_deploy() {
  local -a verbs playbook inventory limit
  verbs=(
    'up:create the cluster, or update it to match the inventory'
    'plan:show what up would change, without changing anything'
    'verify:test that the cluster works'
    'status:show nodes, pods, certificates and drift'
    'doctor:diagnose hosts and cluster, and repair them'
    'support-bundle:collect logs and state from all hosts in one archive'
    'add:add hosts listed in the inventory'
    'remove:drain hosts, reset them, and remove them from the cluster'
    'reattach:reattach an inventory to its cluster'
    'down:remove the cluster and restore its hosts'
    'dashboard:show the address and login of the dashboard, and open it'
    'cloud:create and remove the hosts of a cluster on Alibaba Cloud'
    'web:deploy web services, or roll one back to its previous version'
    'image:push an image to the cluster'\''s registry'
    'import:convert an inventory of another project'
    'kubectl:run kubectl in the version of the cluster'
    'completion:print the completion script for a shell'
  )
  inventory=('(-i --inventory)'{-i,--inventory}'[inventory directory or file]:inventory:_files')
  limit=('--limit[limit the run to these hosts or groups]:pattern:')
  playbook=(
    $inventory
    '*-e[set a variable for this run]:key=value:'
    '(-J --ask-vault-pass)'{-J,--ask-vault-pass}'[ask for the vault password]'
    '*--vault-password-file[file with the vault password]:file:_files'
    '(-k --ask-pass)'{-k,--ask-pass}'[ask for the SSH password of the hosts]'
    '(-K --ask-become-pass)'{-K,--ask-become-pass}'[ask for the sudo password of the hosts]'
    '--timeout[stop the run after this many seconds]:seconds:'
    '--json[print one JSON event per line]'
    '*'{-v,--verbose}'[show every task]'
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
    status) _arguments -s $playbook '--watch[refresh until Ctrl-C]' '--interval[seconds between refreshes]:seconds:' ;;
    doctor)
      _arguments -s $playbook '--fix[apply safe repairs]' '*--only[repair only this fault]:fault:' \
        '*--allow[also repair this fault, although unsafe]:fault:' '--dry-run[show the repairs without applying them]'
      ;;
    support-bundle) _arguments -s $playbook $limit '--output[the archive to write]:file:_files' ;;
    add) _arguments -s $playbook '*:host:' ;;
    remove)
      _arguments -s $playbook '--yes[do not ask for confirmation]' '--force[delete unmanaged pods, ignore budgets]' \
        '--delete-emptydir-data[evict pods with data on the host]' \
        '--dead[the hosts are permanently unreachable]' '--drain-timeout[seconds to wait for evictions]:seconds:' '*:host:'
      ;;
    down)
      _arguments -s $playbook '--yes[do not ask for confirmation]' '*--dead[this host is permanently unreachable]:host:' \
        '--force[also delete the images in the registry]' '--adopt[also remove a cluster that Yunkube did not create]'
      ;;
    dashboard)
      _arguments $inventory '--print[do not open a browser]' '--admin[use a token with full access]' '--viewer[use a read-only token]' '--json[print one JSON object on stdout]'
      ;;
    cloud)
      _arguments -s $playbook '--yes[do not ask for confirmation]' '1:action:(up plan status down)'
      ;;
    web)
      _arguments -s $playbook '--yes[do not ask for confirmation]' '--prune-data[also remove objects that hold data]' '(-n --namespace)'{-n,--namespace}'[namespace of the web service]:namespace:' \
        '1:action:(apply rollback)' '2:web service:'
      ;;
    import) _arguments $inventory '1:project:(kubespray kubeasz k3s-ansible)' '2:inventory:_files' ;;
    image) _arguments $inventory '--json[print one JSON object on stdout]' '1:action:(push)' '2:image:' ;;
    kubectl) _arguments $inventory '*::kubectl arguments:' ;;
    completion) _arguments '1:shell:(bash zsh fish)' ;;
  esac
}

compdef _yunkube_deploy deploy.py
