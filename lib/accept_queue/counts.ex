defmodule AcceptQueue.Counts do
  @moduledoc """
  What `AcceptQueue.counts/1` answers: the fields of `AcceptQueue.Depth`, and

    * `syn_recv`: handshakes not finished
    * `queued_alive`: of the queued, those whose client is still there
    * `queued_closed`: of the queued, those whose client has closed while it waited
    * `queued_reset`: of the queued, those whose client has reset; only the place in the queue is left of them
    * `queued_bytes`: request bytes that queued clients have already sent
    * `oldest_wait_ms`: how long the longest-waiting queued connection has waited; `nil` where none waits
    * `established`: accepted, and open on both sides
    * `close_wait`: accepted; the client has closed and this application still holds the socket
    * `sockets`: how many listening sockets share the address (SO_REUSEPORT); the other fields are their sum

  Of a Unix socket the kernel has no `drops`, `syn_recv`, `queued_bytes` and `oldest_wait_ms`: they are `nil`.
  `queued_alive`, `queued_closed` and `queued_reset` are `nil` where rows cannot be credited: of a transparent proxy, and of
  a Unix socket with more than about 8,000 waiting clients.
  """

  @enforce_keys [
    :queued,
    :limit,
    :drops,
    :syn_recv,
    :queued_alive,
    :queued_closed,
    :queued_reset,
    :queued_bytes,
    :oldest_wait_ms,
    :established,
    :close_wait,
    :sockets
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          queued: non_neg_integer(),
          limit: non_neg_integer(),
          drops: non_neg_integer() | nil,
          syn_recv: non_neg_integer() | nil,
          queued_alive: non_neg_integer() | nil,
          queued_closed: non_neg_integer() | nil,
          queued_reset: non_neg_integer() | nil,
          queued_bytes: non_neg_integer() | nil,
          oldest_wait_ms: non_neg_integer() | nil,
          established: non_neg_integer(),
          close_wait: non_neg_integer(),
          sockets: pos_integer()
        }
end
