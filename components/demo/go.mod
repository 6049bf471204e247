module yunkube/demo

go 1.26
