# SPDX-License-Identifier: Apache-2.0
_yunkube_root() {
  dirname -- "$(dirname -- "$(readlink -f -- "${COMP_WORDS[0]}")")"
}

_yunkube_inventories() {
  local root
  root=$(_yunkube_root)
  [ -d inventory ] && root=.
  {
    compgen -W "$(cd -- "$root" && printf '%s\n' inventory/*/ | sed 's:/$::')" -- "$1"
    compgen -f -- "$1"
  } | sort -u
}

_yunkube_faults() {
  local root
  root=$(_yunkube_root)
  (cd -- "$root/docs/faults" 2>/dev/null && compgen -W "$(printf '%s\n' *.md | sed -n '/^README/!s/\.md$//p')" -- "$1")
}

# After `--`, kubectl completes its own arguments: candidates, a tab and a description a line; the last line is for shells.
_yunkube_kubectl() {
  local at
  for ((at = 1; at < COMP_CWORD; at++)); do
    if [ "${COMP_WORDS[at]}" = -- ]; then
      "${COMP_WORDS[0]}" "${COMP_WORDS[@]:1:at-1}" -- __complete "${COMP_WORDS[@]:at+1:COMP_CWORD-at-1}" "$1" 2>/dev/null \
        | grep -v '^:' | cut -f1 | grep -F -e "$1"
      return
    fi
  done
}

_yunkube_files() {
  compgen -f -- "$1"
}
