# SPDX-License-Identifier: Apache-2.0
function _yunkube_root
  set -l words (commandline -opc)
  path dirname (path dirname (path resolve $words[1]))
end

function _yunkube_inventories
  path filter -d inventory/*
  __fish_complete_path (commandline -ct)
end

function _yunkube_faults
  path basename (_yunkube_root)/docs/faults/*.md | string replace -r '\.md$' '' | string match -v README
end

function _yunkube_files
  __fish_complete_path (commandline -ct)
end

# After `--`, kubectl completes its own arguments: candidates, a tab and a description a line; the last line is for shells.
function _yunkube_kubectl
  set -l words (commandline -opc)
  set -l at (contains -i -- -- $words); or return
  set -l ours $words[1..$at]
  set -e words[1..$at]
  $ours __complete $words (commandline -ct) 2>/dev/null | string match -v -r '^:'
end
