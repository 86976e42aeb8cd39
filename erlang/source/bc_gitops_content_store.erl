%%% @doc What a store of content is, and which kinds there are: a new one is one module with these
%%% callbacks and one line in `module/1'. A store is never trusted: what it gives is verified.
-module(bc_gitops_content_store).

-export([get/2, name/1]).

-export_type([store/0, asked/0]).

%% `macula' is the module macula_content, where this node has it.
-type store() :: macula | {dir, binary()} | {http, binary()} | {node, node()}.
-type asked() :: #{
    mcid := binary(),
    limit := pos_integer(),               % the most bytes
    to := binary(),                       % where a copy may go; its directory is there
    until := integer(),                   % monotonic time in milliseconds
    on_progress := fun((map()) -> any()), % told `received_bytes' and, where known, `total_bytes'
    options := bc_gitops_source:options()
}.
-type answer() :: {ok, Path :: binary()} | not_found | {error, {Kind :: atom(), Details :: map()}}.

%% Path is `to', or a file of the store itself, which is copied while it is verified.
-callback get(store(), asked()) -> answer().
%% For people: without user and password.
-callback name(store()) -> binary().

%% @doc The file that a store has under a content id.
-spec get(store(), asked()) -> answer().
get(Store, Asked) ->
    (module(Store)):get(Store, Asked).

%% @doc A store for people.
-spec name(store()) -> binary().
name(Store) ->
    (module(Store)):name(Store).

module({dir, _}) -> bc_gitops_content_dir;
module({http, _}) -> bc_gitops_content_http;
module({node, _}) -> bc_gitops_content_node;
module(macula) -> bc_gitops_content_macula.
