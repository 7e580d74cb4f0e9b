defmodule AcceptQueue.Listener do
  @moduledoc """
  A row of `AcceptQueue.list/0`: the fields of `AcceptQueue.Depth`, and

    * `address`: where it listens
    * `socket`: the listen socket, good as an argument of `AcceptQueue.counts/1`
    * `owner`: the process that owns it; `nil` where it has been closed meanwhile
    * `server`: the owner's name for a person, `t:AcceptQueue.server/0`
    * `cookie`: the kernel's name for the socket, never given twice
    * `inode`: as in `/proc/PID/fd`
    * `device`: the one that it is bound to, if any; `namespace`: its network namespace, where that is not the VM's own
    * `waiting_acceptors`: how many processes are blocked in accept now

  `socket`, `owner`, `server` and `waiting_acceptors` are `nil` for a listening descriptor of this operating system
  process that has no Erlang socket.
  """

  @enforce_keys [
    :address,
    :socket,
    :owner,
    :server,
    :cookie,
    :inode,
    :device,
    :namespace,
    :queued,
    :limit,
    :drops,
    :waiting_acceptors
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          address: AcceptQueue.address(),
          socket: AcceptQueue.socket() | nil,
          owner: pid() | nil,
          server: AcceptQueue.server(),
          cookie: :accept_queue.cookie(),
          inode: pos_integer(),
          device: binary() | nil,
          namespace: pos_integer() | nil,
          queued: non_neg_integer(),
          limit: non_neg_integer(),
          drops: non_neg_integer() | nil,
          waiting_acceptors: non_neg_integer() | nil
        }
end
