defmodule AcceptQueue.Resized do
  @moduledoc """
  What `AcceptQueue.resize/2` answers.

    * `requested`: the backlog that was asked for
    * `limit`: the backlog in force now; smaller than `requested` where `somaxconn` clipped it, and the sum where the
      listener is several sockets
  """

  @enforce_keys [:requested, :limit]
  defstruct @enforce_keys

  @type t :: %__MODULE__{requested: non_neg_integer(), limit: non_neg_integer()}
end
