defmodule AcceptQueue.Holder do
  @moduledoc """
  A row of `AcceptQueue.holders/1`: a connection that its peer has closed and this VM has not, and the process behind it.

    * `pid`: the process that owns the socket
    * `socket`: the connection's own socket
    * `peer`: the end that has closed
    * `state`: always `:close_wait`
    * `age_ms`: since anything came from the peer; since its FIN, unless this side goes on sending
    * `recv_bytes`: received and not read
    * `initial_call`, `current_function`, `registered_name`, `label`: what the process is called, and the function that it is in
    * `close_wait`: how many such connections there are in all, also where the list is shorter

  `pid`, `socket` and the fields of the process are `nil` where the socket is not this VM's, or has been closed
  meanwhile.
  """

  @enforce_keys [
    :pid,
    :socket,
    :peer,
    :state,
    :age_ms,
    :recv_bytes,
    :initial_call,
    :current_function,
    :registered_name,
    :label,
    :close_wait
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          pid: pid() | nil,
          socket: AcceptQueue.socket() | nil,
          peer: AcceptQueue.address(),
          state: :close_wait,
          age_ms: non_neg_integer(),
          recv_bytes: non_neg_integer(),
          initial_call: mfa() | nil,
          current_function: mfa() | nil,
          registered_name: atom(),
          label: term(),
          close_wait: pos_integer()
        }
end
