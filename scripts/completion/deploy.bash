# Completion of deploy.py for bash: eval "$(./scripts/deploy.py completion bash)"

_yunkube_inventories() {
  local root
  root=$(dirname -- "$(dirname -- "$(readlink -f -- "$1")")")
  if [ -d inventory ]; then
    compgen -d -- inventory/
  elif [ -d "$root/inventory" ]; then
    (cd -- "$root" && compgen -d -- inventory/)
  fi
}

# After `--`, kubectl completes its own arguments: candidates, a tab and a description a line; the last line is for shells.
_yunkube_kubectl() {
  local at
  for ((at = 1; at < COMP_CWORD; at++)); do
    [ "${COMP_WORDS[at]}" = -- ] && break
  done
  mapfile -t COMPREPLY < <("$1" "${COMP_WORDS[@]:1:at-1}" -- __complete "${COMP_WORDS[@]:at+1:COMP_CWORD-at-1}" "$2" \
    2>/dev/null | grep -v '^:' | cut -f1 | grep -F -e "$2")
}

_yunkube_faults() {
  local root
  root=$(dirname -- "$(dirname -- "$(readlink -f -- "$1")")")
  (cd -- "$root/docs/faults" 2>/dev/null && printf '%s\n' *.md | sed 's/\.md$//')
}

_yunkube_deploy() {
  local command=$1 current=$2 previous=$3 verb="" word
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      --)
        [ "$verb" = kubectl ] && _yunkube_kubectl "$command" "$current"
        return
        ;;
      up | plan | verify | status | doctor | support-bundle | add | remove | reattach | cloud | down | dashboard | image | web | import | kubectl | completion) verb=${verb:-$word} ;;
    esac
  done
  case $previous in
    --output | --vault-password-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    -i | --inventory)
      mapfile -t COMPREPLY < <(compgen -W "$(_yunkube_inventories "$command")" -- "$current"
        compgen -f -- "$current")
      return
      ;;
    --only | --allow)
      mapfile -t COMPREPLY < <(compgen -W "$(_yunkube_faults "$command")" -- "$current")
      return
      ;;
    -n | --namespace | --limit | -e | --timeout | --interval | --drain-timeout) return ;;
  esac
  local words run="-e --ask-vault-pass --vault-password-file --ask-pass --ask-become-pass --timeout --json --verbose"
  case $verb in
    "") words="up plan verify status doctor support-bundle add remove reattach cloud down dashboard image web import kubectl completion --help" ;;
    up | plan) words="--inventory --limit $run --help" ;;
    verify) words="--inventory $run --help" ;;
    status) words="--inventory $run --watch --interval --help" ;;
    doctor) words="--inventory $run --fix --only --allow --dry-run --help" ;;
    support-bundle) words="--inventory --limit $run --output --help" ;;
    reattach) words="--inventory $run --help" ;;
    add) words="--inventory $run --help" ;;
    remove) words="--inventory $run --yes --force --delete-emptydir-data --dead --drain-timeout --help" ;;
    down) words="--inventory $run --yes --dead --force --adopt --help" ;;
    dashboard) words="--inventory --print --admin --viewer --json --help" ;;
    cloud) words="up plan status down --inventory $run --yes --help" ;;
    web) words="apply rollback --inventory $run --namespace --yes --prune-data --help" ;;
    image) words="push --inventory --json --help" ;;
    import)
      words="kubespray kubeasz k3s-ansible --inventory --help"
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    kubectl) words="--inventory --help --" ;;
    completion) words="bash zsh fish --help" ;;
  esac
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _yunkube_deploy deploy.py ./scripts/deploy.py scripts/deploy.py
