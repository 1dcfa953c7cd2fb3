# stands in for python:3.11-slim
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    # python and pip in /usr/local/bin, and a pip that installs to lib/python3.11/site-packages.
    && python3 -m venv /usr/local
CMD ["python3"]
