# stands in for ubuntu
FROM debian:trixie
