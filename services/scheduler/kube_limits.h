// What bounds the Kubernetes client and driver. Each limit says why it is what it is.
#ifndef SCHEDULER_KUBE_LIMITS_H
#define SCHEDULER_KUBE_LIMITS_H

enum {
  KUBE_CONFIG_BYTES_MAX = 1 << 20,  // a kubeconfig with inline certificates is a few tens of KiB
  KUBE_FILE_BYTES_MAX = 256 * 1024,
  KUBE_TOKEN_REREAD_MS = 10000,  // kubelets rotate tokens at 80 % of their life: an hour is usual
  KUBE_NAME_MAX = 64,            // DNS labels are at most 63
  KUBE_NAMESPACE_MAX = 64,
  KUBE_UID_MAX = 40,
  KUBE_RV_MAX = 40,
  KUBE_PATH_MAX = 1024,
  KUBE_HANDLES_MAX = 16,  // connections kept for requests; watches have their own

  KUBE_CONNECT_TIMEOUT_MS = 5000,
  KUBE_TIMEOUT_MS = 10000,  // one request, its waiting for the rate limit and Retry-After included
  KUBE_LIST_TIMEOUT_MS = 60000,
  KUBE_ANSWER_BYTES_MAX = 2 * 1024 * 1024,  // etcd keeps no object above 1.5 MiB
  KUBE_LIST_BYTES_MAX = 32 * 1024 * 1024,   // one page of KUBE_PAGE pods
  KUBE_PAGE = 250,
  KUBE_PAGES_MAX = 1024,
  KUBE_EVENT_BYTES_MAX = 4 * 1024 * 1024,  // one line of a watch
  KUBE_RETRY_AFTER_MAX_S = 60,             // a server that asks for more is asked again after so long

  KUBE_KEPT_LOG_LINES = 200,
  KUBE_KEPT_LOG_BYTES = 64 * 1024,

  KUBE_RATE_PER_S = 50,  // of one region; the API server's own fairness comes on top
  KUBE_BURST = 100,
  KUBE_RESERVED_FOR_WRITES = 40,  // of the burst: reads leave so much to those who start and end replicas
  KUBE_READ_PATIENCE_MS = 1000,   // and for so long at most

  KUBE_WATCH_IDLE_MS = 90000,  // bookmarks come every minute: a watch that says nothing for longer has stalled
  KUBE_WATCH_TIMEOUT_S = 300,  // asked of the server, plus up to as much again by chance
  KUBE_BACKOFF_FIRST_MS = 200,
  KUBE_BACKOFF_MAX_MS = 30000,
};

#endif
