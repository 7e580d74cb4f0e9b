defmodule AcceptQueue.KernelLimits do
  @moduledoc """
  What `AcceptQueue.kernel/0` answers. A figure that this kernel or network namespace does not have is `nil`.

  Limits, from `/proc/sys/net`: `somaxconn`, `tcp_max_syn_backlog`, `tcp_abort_on_overflow`, `tcp_syncookies`,
  `tcp_synack_retries`.

  Counters over all listeners of the network namespace, from `/proc/net/netstat`:

    * `listen_overflows`, `listen_drops`: connections that a full accept queue turned away, and those dropped for any
      cause
    * `tcp_req_q_full_drop`, `tcp_req_q_full_do_cookies`: a full SYN queue that dropped, or answered with a cookie
    * `syncookies_sent`, `syncookies_recv`, `syncookies_failed`: SYN cookies sent, returned, and returned wrong
  """

  @enforce_keys [
    :somaxconn,
    :tcp_max_syn_backlog,
    :tcp_abort_on_overflow,
    :tcp_syncookies,
    :tcp_synack_retries,
    :listen_overflows,
    :listen_drops,
    :tcp_req_q_full_drop,
    :tcp_req_q_full_do_cookies,
    :syncookies_sent,
    :syncookies_recv,
    :syncookies_failed
  ]
  defstruct @enforce_keys

  @typedoc "`nil`: this kernel or network namespace does not have it."
  @type figure :: non_neg_integer() | nil

  @type t :: %__MODULE__{
          somaxconn: figure(),
          tcp_max_syn_backlog: figure(),
          tcp_abort_on_overflow: figure(),
          tcp_syncookies: figure(),
          tcp_synack_retries: figure(),
          listen_overflows: figure(),
          listen_drops: figure(),
          tcp_req_q_full_drop: figure(),
          tcp_req_q_full_do_cookies: figure(),
          syncookies_sent: figure(),
          syncookies_recv: figure(),
          syncookies_failed: figure()
        }
end
