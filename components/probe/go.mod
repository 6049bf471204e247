module yunkube/probe

go 1.26
