module three-tier/front

go 1.19
