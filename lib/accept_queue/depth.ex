defmodule AcceptQueue.Depth do
  @moduledoc """
  What `AcceptQueue.depth/1` answers.

    * `queued`: connections whose handshake is done and that wait for accept
    * `limit`: the backlog in force, the smaller of what `listen` was asked for and `somaxconn`; full is
      `queued > limit`
    * `drops`: packets this listener has dropped since it was opened, overflow first among the causes; `nil`
      before Linux 4.12 and for a Unix socket
  """

  @enforce_keys [:queued, :limit, :drops]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          queued: non_neg_integer(),
          limit: non_neg_integer(),
          drops: non_neg_integer() | nil
        }
end
