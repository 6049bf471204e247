#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# k8s.io/apimachinery 0.37.2, the code by which kube-apiserver tracks managed fields (seen 2026-11-29)
# Expected: server-side apply of a manifest that has nothing beside its name (a bare Namespace) is recorded as an apply of
# its manager, and a second one changes nothing.
# Seen: the first apply records nobody. What the server sets afterwards is recorded by the second apply, as an Update of
# `before-first-apply`: that one writes the object, whose resourceVersion changes; a third one does not.
# Why it matters: a tool that compares resourceVersion to report "changed" reports a change in its second run, although
# nothing differs, and a dry run before it said so. Compare the content instead.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work GOPATH=$work/go GOCACHE=$work/cache GOFLAGS="-mod=mod -modcacherw"
cd "$work"
cat > go.mod <<'GO'
module example.com/finding

go 1.24

require k8s.io/apimachinery v0.37.2
GO
cat > main.go <<'GO'
package main

import (
    "fmt"
    "os"

    "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
    "k8s.io/apimachinery/pkg/runtime/schema"
    "k8s.io/apimachinery/pkg/util/managedfields"
    "k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
)

func namespace(labels map[string]string) *unstructured.Unstructured {
    object := &unstructured.Unstructured{Object: map[string]any{}}
    object.SetAPIVersion("v1")
    object.SetKind("Namespace")
    object.SetName("shops")
    object.SetUID("00000000-0000-4000-8000-000000000001")
    object.SetLabels(labels)
    return object
}

func check(err error) {
    if err != nil {
        panic(err)
    }
}

func main() {
    kind := schema.FromAPIVersionAndKind("v1", "Namespace")
    server := managedfieldstest.NewTestFieldManager(managedfields.NewDeducedTypeConverter(), kind)
    seen := ""
    for range 3 {
        check(server.Apply(namespace(nil), "installer", false))
        seen += "["
        for _, entry := range server.ManagedFields() {
            seen += entry.Manager + " " + string(entry.Operation)
        }
        seen += "]"
        check(server.Update(namespace(map[string]string{"kubernetes.io/metadata.name": "shops"}), "server"))
    }
    fmt.Println("version: k8s.io/apimachinery v0.37.2")
    fmt.Println("seen: managers after each apply:", seen)
    if seen != "[][before-first-apply Update][before-first-apply Update]" {
        fmt.Println("an apply without fields is recorded otherwise now")
        os.Exit(1)
    }
}
GO
go run .
