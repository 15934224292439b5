# Runs the guide's shell: driver.sh KEY ID TIMESTAMP SIGNATURES <body
set -euo pipefail
. ./snippet.sh
verify "$@"
