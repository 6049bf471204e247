# SPDX-License-Identifier: Apache-2.0
_yunkube_inventories() {
  _alternative 'inventories:inventory:(inventory/*(N/))' 'files:file:_files'
}

_yunkube_faults() {
  local root=${${words[1]:-$service}:A:h:h}
  compadd -- $root/docs/faults/*.md(N:t:r)
}

_yunkube_files() {
  _files
}

# After `--`, kubectl completes its own arguments: candidates, a tab and a description a line; the last line is for shells.
_yunkube_kubectl() {
  local at=${words[(i)--]}
  local -a found
  found=(${(f)"$(${(Q)words[1]} ${words[2,at-1]} -- __complete ${words[at+1,-1]} 2>/dev/null)"})
  compadd -- ${${found:#:*}%%$'\t'*}
}
