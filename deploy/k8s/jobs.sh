# Functions of the scripts beside it, which run Jobs from suspended CronJobs.

k() { kubectl -n lavka "$@"; }

# create starts a Job from the CronJob of the same name. A Job of an earlier run makes room.
create() { # job
    k delete job "$1" --ignore-not-found
    k create job "$1" --from="cronjob/$1"
}

# completed waits until a Job has ended. If it failed, completed shows its log and what it means, and returns an error.
completed() { # job, what a failure means
    local ended
    while :; do
        ended=$(k get job "$1" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}')
        case " $ended " in
        *" Complete "*) return ;;
        *" Failed "*) break ;;
        esac
        sleep 2
    done
    k logs "job/$1" --tail 20 >&2 || true # the failure below is the one that matters
    echo "$1 failed. $2 Remove the cause, and run $0 again." >&2
    return 1
}
