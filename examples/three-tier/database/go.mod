module three-tier/database

go 1.19
