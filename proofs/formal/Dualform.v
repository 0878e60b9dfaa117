(* What the printed lemmas rest on: a ring normaliser for the entries of MathComp matrices, the
   vocabulary that MathComp has no name for, and the evaluation of concrete matrices.

   `finite_algebra` proves an equation of matrices of any size over any commutative ring: products
   are multiplied out, blocks taken apart, and the entries of what is left compared by `ring`. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Coq Require Import Ring.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory. Local Open Scope ring_scope.

Section Entries.
Variable R : comRingType.

(* Coq's `ring` needs one spelling of the operations, which MathComp's structures do not give. *)
Definition radd (x y : R) : R := x + y.
Definition rmul (x y : R) : R := x * y.
Definition ropp (x : R) : R := - x.
Definition rsub (x y : R) : R := x - y.
Definition rzero : R := 0.
Definition rone : R := 1.
Lemma ring_of : ring_theory rzero rone radd rmul rsub ropp (@eq R).
Proof.
split; rewrite /rzero /rone /radd /rmul /rsub /ropp => *.
all: by [rewrite add0r | rewrite addrC | rewrite addrA | rewrite mul1r | rewrite mulrC
  | rewrite mulrA | rewrite mulrDl | rewrite subrr | ].
Qed.
Lemma raddE (x y : R) : x + y = radd x y. Proof. by []. Qed.
Lemma rmulE (x y : R) : x * y = rmul x y. Proof. by []. Qed.
Lemma roppE (x : R) : - x = ropp x. Proof. by []. Qed.
Lemma rzeroE : 0 = rzero. Proof. by []. Qed.
Lemma roneE : 1 = rone. Proof. by []. Qed.
Lemma twiceE (x : R) : x *+ 2 = radd x x. Proof. by rewrite mulr2n. Qed.

(* `ring` looks for its ring in the first side of the goal, which therefore has to be a sum. *)
Lemma with_zero (x y : R) : radd x rzero = radd y rzero -> x = y.
Proof. by rewrite /radd /rzero !addr0. Qed.

(* What follows from y z = 1. *)
Lemma times_unit (y z a b : R) :
  rmul y z = rone -> rmul a z = rmul b z -> a = b.
Proof.
rewrite /rmul /rone => unit same.
by rewrite -[a]mulr1 -[b]mulr1 -unit ![_ * (y * z)]mulrCA same.
Qed.
Lemma relation (y a b : R) : rmul y (radd a b) = rone ->
  rmul y b = radd (rone) (ropp (rmul y a)).
Proof. by rewrite /rmul /radd /rone /ropp mulrDr => <-; rewrite addrC addKr. Qed.
Lemma no_relation (y z : R) : rmul y z = rone ->
  rmul y z = radd (rone) (rzero).
Proof. by move=> ->; rewrite /radd /rzero addr0. Qed.

(* The number in a 1 x 1 matrix. *)
Definition sc (c : 'M[R]_1) : R := c ord0 ord0.
(* <A, B> *)
Definition inner m n (A B : 'M[R]_(m,n)) : R := \tr (A^T *m B).
(* The entry-wise product, a row of ones, the diagonal matrix of a column, the trace. *)
Definition times m n (A B : 'M[R]_(m,n)) : 'M[R]_(m,n) := \matrix_(i, j) (A i j * B i j).
Definition ones n : 'M[R]_(1,n) := const_mx 1.
Definition diag n (c : 'M[R]_(n,1)) : 'M[R]_n := diag_mx c^T.
Definition trace n (A : 'M[R]_n) : 'M[R]_1 := (\tr A)%:M.
(* Columns a_t (x) b_t; an index of m * p is a pair of indices. *)
Definition pair_of m p (k : 'I_(m * p)) : 'I_m * 'I_p :=
  enum_val (cast_ord (esym (mxvec_cast m p)) k).
Definition khatri_rao m p n (A : 'M[R]_(m,n)) (B : 'M[R]_(p,n)) : 'M[R]_(m * p,n) :=
  \matrix_(i, j) (A (pair_of i).1 j * B (pair_of i).2 j).
(* Entries (s, t) with s <= t. *)
Definition causal n (A : 'M[R]_n) : 'M[R]_n := \matrix_(i, j) (A i j *+ (i <= j)).
(* The same where columns are numbered from the newest to the oldest. *)
Definition causal_newest_first n (A : 'M[R]_n) : 'M[R]_n := \matrix_(i, j) (A i j *+ (j <= i)).

Lemma ord1E (i : 'I_1) : i = ord0. Proof. by rewrite ord1; apply: val_inj. Qed.
Lemma trD m n (A B : 'M[R]_(m,n)) : (A + B)^T = A^T + B^T. Proof. exact: linearD. Qed.
Lemma trN m n (A : 'M[R]_(m,n)) : (- A)^T = - A^T. Proof. exact: linearN. Qed.
Lemma trZ m n a (A : 'M[R]_(m,n)) : (a *: A)^T = a *: A^T. Proof. exact: linearZ. Qed.
Lemma tr0 m n : (0 : 'M[R]_(m,n))^T = 0. Proof. exact: linear0. Qed.
Lemma tr1 n : (1%:M : 'M[R]_n)^T = 1%:M. Proof. exact: tr_scalar_mx. Qed.
Lemma mulZl m n p a (A : 'M[R]_(m,n)) (B : 'M_(n,p)) : (a *: A) *m B = a *: (A *m B).
Proof. by rewrite scalemxAl. Qed.
Lemma mulZr m n p a (A : 'M[R]_(m,n)) (B : 'M_(n,p)) : A *m (a *: B) = a *: (A *m B).
Proof. by rewrite scalemxAr. Qed.
Lemma scale2 m n a b (A : 'M[R]_(m,n)) : a *: (b *: A) = (rmul a b) *: A.
Proof. by rewrite scalerA. Qed.
Lemma scale1 m n (A : 'M[R]_(m,n)) : rone *: A = A. Proof. exact: scale1r. Qed.
Lemma scaleD m n a (A B : 'M[R]_(m,n)) : a *: (A + B) = a *: A + a *: B.
Proof. exact: scalerDr. Qed.
Lemma scaleN m n a (A : 'M[R]_(m,n)) : a *: (- A) = - (a *: A). Proof. exact: scalerN. Qed.
Lemma scale0 m n a : a *: (0 : 'M[R]_(m,n)) = 0. Proof. exact: scaler0. Qed.
Lemma mul0dim m p (A : 'M[R]_(m,0)) (B : 'M_(0,p)) : A *m B = 0.
Proof. by rewrite [A]thinmx0 mul0mx. Qed.
Lemma oppK m n (A : 'M[R]_(m,n)) : - - A = A. Proof. exact: opprK. Qed.
Lemma oppD m n (A B : 'M[R]_(m,n)) : - (A + B) = - A - B. Proof. exact: opprD. Qed.

Lemma addl0 m n (A : 'M[R]_(m,n)) : 0 + A = A. Proof. exact: add0r. Qed.
Lemma addr0' m n (A : 'M[R]_(m,n)) : A + 0 = A. Proof. exact: addr0. Qed.
Lemma opp0 m n : - (0 : 'M[R]_(m,n)) = 0. Proof. exact: oppr0. Qed.


(* Blocks: columns of blocks outside, rows of blocks inside. *)
Lemma row_cols m1 m2 n1 n2 (A : 'M[R]_(m1,n1)) (B : 'M_(m2,n1)) (C : 'M_(m1,n2)) (D : 'M_(m2,n2)) :
  row_mx (col_mx A B) (col_mx C D) = col_mx (row_mx A C) (row_mx B D).
Proof. by rewrite -[RHS]block_mxEv block_mxEh. Qed.
Lemma addrow m n1 n2 (A B : 'M[R]_(m,n1)) (C D : 'M_(m,n2)) :
  row_mx A C + row_mx B D = row_mx (A + B) (C + D). Proof. exact: add_row_mx. Qed.
Lemma addcol m1 m2 n (A B : 'M[R]_(m1,n)) (C D : 'M_(m2,n)) :
  col_mx A C + col_mx B D = col_mx (A + B) (C + D). Proof. exact: add_col_mx. Qed.
Lemma opprow m n1 n2 (A : 'M[R]_(m,n1)) (B : 'M_(m,n2)) : - row_mx A B = row_mx (- A) (- B).
Proof. exact: opp_row_mx. Qed.
Lemma oppcol m1 m2 n (A : 'M[R]_(m1,n)) (B : 'M_(m2,n)) : - col_mx A B = col_mx (- A) (- B).
Proof. exact: opp_col_mx. Qed.
Lemma scalerow m n1 n2 a (A : 'M[R]_(m,n1)) (B : 'M_(m,n2)) :
  a *: row_mx A B = row_mx (a *: A) (a *: B). Proof. exact: scale_row_mx. Qed.
Lemma scalecol m1 m2 n a (A : 'M[R]_(m1,n)) (B : 'M_(m2,n)) :
  a *: col_mx A B = col_mx (a *: A) (a *: B). Proof. exact: scale_col_mx. Qed.
Lemma ones_row n1 n2 : ones (n1 + n2) = row_mx (ones n1) (ones n2).
Proof. by rewrite /ones row_mx_const. Qed.
Lemma identity_blocks n1 n2 : 1%:M = col_mx (row_mx 1%:M 0) (row_mx 0 1%:M) :> 'M[R]_(n1 + n2).
Proof. by rewrite scalar_mx_block block_mxEv. Qed.
Lemma times_row m n1 n2 (A B : 'M[R]_(m,n1)) (C D : 'M_(m,n2)) :
  times (row_mx A C) (row_mx B D) = row_mx (times A B) (times C D).
Proof.
by apply/matrixP=> i j; rewrite !mxE; case: split => k; rewrite !mxE.
Qed.
Lemma times_col m1 m2 n (A B : 'M[R]_(m1,n)) (C D : 'M_(m2,n)) :
  times (col_mx A C) (col_mx B D) = col_mx (times A B) (times C D).
Proof.
by apply/matrixP=> i j; rewrite !mxE; case: split => k; rewrite !mxE.
Qed.
Lemma khatri_rao_row m p n1 n2 (A : 'M[R]_(m,n1)) (B : 'M_(p,n1)) (C : 'M_(m,n2)) (D : 'M_(p,n2)) :
  khatri_rao (row_mx A C) (row_mx B D) = row_mx (khatri_rao A B) (khatri_rao C D).
Proof.
by apply/matrixP=> i j; rewrite !mxE; case: split => k; rewrite !mxE.
Qed.
Lemma causal_blocks n1 n2 (A : 'M[R]_n1) (B : 'M_(n1,n2)) (C : 'M_(n2,n1)) (D : 'M_n2) :
  causal (col_mx (row_mx A B) (row_mx C D)) = col_mx (row_mx (causal A) B) (row_mx 0 (causal D)).
Proof.
rewrite -!block_mxEv; apply/matrixP=> i j; rewrite mxE.
case: (split_ordP i) => a -> ; case: (split_ordP j) => b ->.
- by rewrite !block_mxEul mxE.
- by rewrite !block_mxEur /= (leq_trans (ltnW (ltn_ord a)) (leq_addr _ _)) mulr1n.
- by rewrite !block_mxEdl mxE /= leqNgt (leq_trans (ltn_ord b) (leq_addr _ _)) mulr0n.
- by rewrite !block_mxEdr mxE /= leq_add2l.
Qed.
Lemma causal_newest_first_blocks n1 n2 (A : 'M[R]_n1) (B : 'M_(n1,n2)) (C : 'M_(n2,n1)) (D : 'M_n2) :
  causal_newest_first (col_mx (row_mx A B) (row_mx C D))
  = col_mx (row_mx (causal_newest_first A) 0) (row_mx C (causal_newest_first D)).
Proof.
rewrite -!block_mxEv; apply/matrixP=> i j; rewrite mxE.
case: (split_ordP i) => a -> ; case: (split_ordP j) => b ->.
- by rewrite !block_mxEul mxE.
- by rewrite !block_mxEur mxE /= leqNgt (leq_trans (ltn_ord a) (leq_addr _ _)) mulr0n.
- by rewrite !block_mxEdl /= (leq_trans (ltnW (ltn_ord b)) (leq_addr _ _)) mulr1n.
- by rewrite !block_mxEdr mxE /= leq_add2l.
Qed.
Lemma diag1 (c : 'M[R]_1) : diag c = c.
Proof.
apply/matrixP=> i j; by rewrite (ord1E i) (ord1E j) /diag mxE eqxx mulr1n mxE.
Qed.
Lemma causal1 (A : 'M[R]_1) : causal A = A.
Proof. by apply/matrixP=> i j; rewrite mxE !ord1 mulr1n. Qed.
Lemma causal_newest_first1 (A : 'M[R]_1) : causal_newest_first A = A.
Proof. by apply/matrixP=> i j; rewrite mxE !ord1 mulr1n. Qed.
Lemma diag_blocks n1 n2 (a : 'M[R]_(n1,1)) (b : 'M_(n2,1)) :
  diag (col_mx a b) = col_mx (row_mx (diag a) 0) (row_mx 0 (diag b)).
Proof. by rewrite -block_mxEv /diag tr_col_mx diag_mx_row. Qed.
Lemma map_row f m n1 n2 (A : 'M[R]_(m,n1)) (B : 'M[R]_(m,n2)) :
  map_mx f (row_mx A B) = row_mx (map_mx f A) (map_mx f B) :> 'M[R]_(m, n1 + n2).
Proof. exact: map_row_mx. Qed.
Lemma map_col f m1 m2 n (A : 'M[R]_(m1,n)) (B : 'M[R]_(m2,n)) :
  map_mx f (col_mx A B) = col_mx (map_mx f A) (map_mx f B) :> 'M[R]_(m1 + m2, n).
Proof. exact: map_col_mx. Qed.
Lemma map_tr f m n (A : 'M[R]_(m,n)) : (map_mx f A)^T = map_mx f A^T :> 'M[R]_(n,m).
Proof. by rewrite map_trmx. Qed.

(* Entry-wise products, diagonals, masks. *)
Lemma tr_times m n (A B : 'M[R]_(m,n)) : (times A B)^T = times A^T B^T.
Proof. by apply/matrixP=> i j; rewrite !mxE. Qed.
Lemma timesDl m n (A B C : 'M[R]_(m,n)) : times (A + B) C = times A C + times B C.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrDl. Qed.
Lemma timesDr m n (A B C : 'M[R]_(m,n)) : times A (B + C) = times A B + times A C.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrDr. Qed.
Lemma timesNl m n (A B : 'M[R]_(m,n)) : times (- A) B = - times A B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulNr. Qed.
Lemma timesNr m n (A B : 'M[R]_(m,n)) : times A (- B) = - times A B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrN. Qed.
Lemma timesZl m n a (A B : 'M[R]_(m,n)) : times (a *: A) B = a *: times A B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrA. Qed.
Lemma timesZr m n a (A B : 'M[R]_(m,n)) : times A (a *: B) = a *: times A B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrCA. Qed.
Lemma times0l m n (A : 'M[R]_(m,n)) : times 0 A = 0.
Proof. by apply/matrixP=> i j; rewrite !mxE mul0r. Qed.
Lemma times0r m n (A : 'M[R]_(m,n)) : times A 0 = 0.
Proof. by apply/matrixP=> i j; rewrite !mxE mulr0. Qed.
Lemma tr_diag n (c : 'M[R]_(n,1)) : (diag c)^T = diag c. Proof. exact: tr_diag_mx. Qed.
Lemma diagD n (c d : 'M[R]_(n,1)) : diag (c + d) = diag c + diag d.
Proof. by rewrite /diag trD; exact: linearD. Qed.
Lemma diagN n (c : 'M[R]_(n,1)) : diag (- c) = - diag c.
Proof. by rewrite /diag trN; exact: linearN. Qed.
Lemma diagZ n a (c : 'M[R]_(n,1)) : diag (a *: c) = a *: diag c.
Proof. by rewrite /diag trZ; exact: linearZ. Qed.
Lemma diag_ones n : diag (ones n)^T = 1%:M.
Proof. by rewrite /diag trmxK /ones diag_const_mx. Qed.
Lemma diag_mulE m n (c : 'M[R]_(m,1)) (A : 'M[R]_(m,n)) : diag c *m A = times (c *m ones n) A.
Proof.
by apply/matrixP=> i j; rewrite /diag mul_diag_mx !mxE big_ord_recl big_ord0 addr0 !mxE mulr1.
Qed.
Lemma mul_diagE m n (c : 'M[R]_(n,1)) (A : 'M[R]_(m,n)) :
  A *m diag c = times ((ones m)^T *m c^T) A.
Proof.
by apply/matrixP=> i j; rewrite /diag mul_mx_diag !mxE big_ord_recl big_ord0 addr0 !mxE mul1r mulrC.
Qed.
(* A column spread over all columns, or a row over all rows, scales what it is multiplied with. *)
Lemma times_col_ones m n (c : 'M[R]_(m,1)) (A : 'M[R]_(m,n)) : times (c *m ones n) A = diag c *m A.
Proof. by rewrite diag_mulE. Qed.
Lemma times_ones_row m n (r : 'M[R]_(1,n)) (A : 'M[R]_(m,n)) :
  times ((ones m)^T *m r) A = A *m diag r^T.
Proof. by rewrite mul_diagE trmxK. Qed.
Lemma timesC m n (A B : 'M[R]_(m,n)) : times A B = times B A.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrC. Qed.
Lemma times_col_onesr m n (c : 'M[R]_(m,1)) (A : 'M[R]_(m,n)) : times A (c *m ones n) = diag c *m A.
Proof. by rewrite timesC times_col_ones. Qed.
Lemma times_ones_rowr m n (r : 'M[R]_(1,n)) (A : 'M[R]_(m,n)) :
  times A ((ones m)^T *m r) = A *m diag r^T.
Proof. by rewrite timesC times_ones_row. Qed.
Lemma khatri_rao_gram m p n q (A : 'M[R]_(m,n)) (B : 'M_(p,n)) (C : 'M_(m,q)) (D : 'M_(p,q)) :
  (khatri_rao A B)^T *m khatri_rao C D = times (A^T *m C) (B^T *m D).
Proof.
apply/matrixP=> i j; rewrite !mxE.
rewrite (reindex _ (curry_mxvec_bij m p)) /=.
rewrite big_distrl /= (eq_bigr _ (fun a _ => big_distrr _ _ _)) pair_bigA /=.
apply: eq_bigr => -[a b] _.
rewrite !mxE /pair_of /mxvec_index cast_ordK enum_rankK /=; exact: mulrACA.
Qed.
Lemma khatri_rao_gramA m p n q r (Z : 'M[R]_(r,n)) (A : 'M[R]_(m,n)) (B : 'M_(p,n))
    (C : 'M_(m,q)) (D : 'M_(p,q)) :
  Z *m (khatri_rao A B)^T *m khatri_rao C D = Z *m times (A^T *m C) (B^T *m D).
Proof. by rewrite -mulmxA khatri_rao_gram. Qed.
Lemma causalE n (A : 'M[R]_n) i j : causal A i j = rmul (A i j) ((i <= j)%:R).
Proof. by rewrite mxE /rmul mulr_natr. Qed.
Lemma causal_newest_firstE n (A : 'M[R]_n) i j :
  causal_newest_first A i j = rmul (A i j) ((j <= i)%:R).
Proof. by rewrite mxE /rmul mulr_natr. Qed.
Lemma causalD n (A B : 'M[R]_n) : causal (A + B) = causal A + causal B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrnDl. Qed.
Lemma causalN n (A : 'M[R]_n) : causal (- A) = - causal A.
Proof. by apply/matrixP=> i j; rewrite !mxE mulNrn. Qed.
Lemma causal_newest_firstD n (A B : 'M[R]_n) :
  causal_newest_first (A + B) = causal_newest_first A + causal_newest_first B.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrnDl. Qed.
Lemma causal_newest_firstN n (A : 'M[R]_n) : causal_newest_first (- A) = - causal_newest_first A.
Proof. by apply/matrixP=> i j; rewrite !mxE mulNrn. Qed.
Lemma causalZ n a (A : 'M[R]_n) : causal (a *: A) = a *: causal A.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrnAr. Qed.
Lemma causal_newest_firstZ n a (A : 'M[R]_n) :
  causal_newest_first (a *: A) = a *: causal_newest_first A.
Proof. by apply/matrixP=> i j; rewrite !mxE mulrnAr. Qed.
Lemma causal0 n : causal (0 : 'M[R]_n) = 0.
Proof. by apply/matrixP=> i j; rewrite !mxE mul0rn. Qed.
Lemma causal_newest_first0 n : causal_newest_first (0 : 'M[R]_n) = 0.
Proof. by apply/matrixP=> i j; rewrite !mxE mul0rn. Qed.

(* Entries. *)
Lemma addE m n (A B : 'M[R]_(m,n)) i j : (A + B) i j = radd (A i j) (B i j).
Proof. by rewrite mxE. Qed.
Lemma oppE m n (A : 'M[R]_(m,n)) i j : (- A) i j = ropp (A i j).
Proof. by rewrite mxE. Qed.
Lemma zeroE m n i j : (0 : 'M[R]_(m,n)) i j = rzero.
Proof. by rewrite mxE. Qed.
Lemma scaleE m n a (A : 'M[R]_(m,n)) i j : (a *: A) i j = rmul a (A i j).
Proof. by rewrite mxE. Qed.
Lemma timesE m n (A B : 'M[R]_(m,n)) i j : times A B i j = rmul (A i j) (B i j).
Proof. by rewrite mxE. Qed.
Lemma onesE n i j : ones n i j = rone. Proof. by rewrite mxE. Qed.
Lemma outerE m n (c : 'M[R]_(m,1)) (r : 'M[R]_(1,n)) i j :
  (c *m r) i j = rmul (c i ord0) (r ord0 j).
Proof. by rewrite mxE big_ord_recl big_ord0 addr0. Qed.
Lemma diagME m n (c : 'M[R]_(m,1)) (A : 'M[R]_(m,n)) i j :
  (diag c *m A) i j = rmul (c i ord0) (A i j).
Proof. by rewrite /diag mul_diag_mx !mxE. Qed.
Lemma MdiagE m n (c : 'M[R]_(n,1)) (A : 'M[R]_(m,n)) i j :
  (A *m diag c) i j = rmul (A i j) (c j ord0).
Proof. by rewrite /diag mul_mx_diag !mxE. Qed.
Lemma traceE n (A : 'M[R]_n) i j : trace A i j = \tr A.
Proof. by rewrite !ord1 /trace mxE eqxx. Qed.
Lemma mxtrace_add n (A B : 'M[R]_n) : \tr (A + B) = radd (\tr A) (\tr B).
Proof. exact: linearD. Qed.
Lemma mxtrace_opp n (A : 'M[R]_n) : \tr (- A) = ropp (\tr A).
Proof. exact: linearN. Qed.
Lemma mxtrace_scale n a (A : 'M[R]_n) : \tr (a *: A) = rmul a (\tr A).
Proof. exact: mxtraceZ. Qed.
Lemma mapE f m n (A : 'M[R]_(m,n)) i j : map_mx f A i j = f (A i j) :> R.
Proof. by rewrite mxE. Qed.
Lemma identityE i j : (1%:M : 'M[R]_1) i j = rone.
Proof. by rewrite !ord1 mxE eqxx. Qed.
Lemma tr_entry m n (A : 'M[R]_(m,n)) i j : A^T i j = A j i. Proof. by rewrite mxE. Qed.
Lemma outer_first m n p (c : 'M[R]_(m,1)) (r : 'M[R]_(1,n)) (A : 'M[R]_(n,p)) :
  (c *m r) *m A = c *m (r *m A).
Proof. by rewrite mulmxA. Qed.
Lemma row_entry n p (r : 'M[R]_(1,n)) (A : 'M[R]_(n,p)) j :
  (r *m A) ord0 j = (A^T *m r^T) j ord0.
Proof. by rewrite -trmx_mul tr_entry. Qed.
End Entries.

Section Units.
Variable R : comUnitRingType.
Lemma uaddE (x y : R) : x + y = @radd R x y. Proof. by []. Qed.
Lemma umulE (x y : R) : x * y = @rmul R x y. Proof. by []. Qed.
Lemma uoppE (x : R) : - x = @ropp R x. Proof. by []. Qed.
Lemma utwiceE (x : R) : x *+ 2 = @radd R x x. Proof. by rewrite mulr2n. Qed.
Lemma unit_number (Z : 'M[R]_1) :
  Z \in unitmx -> @rmul R (invmx Z ord0 ord0) (Z ord0 ord0) = rone R.
Proof. by move=> /mulVmx /matrixP/(_ ord0 ord0); rewrite outerE identityE. Qed.
(* Inverses, where a product with what is inverted has been multiplied out. *)
Lemma inverse_cancels m n p (X : 'M[R]_(m,n)) (P : 'M[R]_(n,p)) (Q : 'M_(p,n)) :
  P *m Q \in unitmx -> X *m invmx (P *m Q) *m P *m Q = X.
Proof. by move=> unit; rewrite -mulmxA mulmxKV. Qed.
(* A number added to all arguments of a function that turns sums into products. *)
Lemma exp_shift f n (c : 'M[R]_1) (A : 'M[R]_(1,n)) :
  (forall x y : R, f (x + y) = f x * f y) ->
  map_mx f (c *m ones R n + A) = map_mx f c ord0 ord0 *: map_mx f A :> 'M[R]_(1,n).
Proof.
move=> f_add; apply/matrixP=> i j.
by rewrite mxE addE outerE onesE /radd /rmul /rone mulr1 (ord1E i) f_add !mxE.
Qed.
Lemma uzeroE : 0 = rzero R :> R. Proof. by []. Qed.
Lemma uoneE : 1 = rone R :> R. Proof. by []. Qed.
End Units.

Section Inner.
Variable R : comRingType.
Lemma innerC m n (A B : 'M[R]_(m,n)) : inner A B = inner B A.
Proof. by rewrite /inner -mxtrace_tr trmx_mul trmxK. Qed.
Lemma innerDr m n (A B C : 'M[R]_(m,n)) : inner A (B + C) = radd (inner A B) (inner A C).
Proof. by rewrite /inner mulmxDr; exact: linearD. Qed.
Lemma innerDl m n (A B C : 'M[R]_(m,n)) : inner (A + B) C = radd (inner A C) (inner B C).
Proof. by rewrite innerC innerDr !(innerC C). Qed.
Lemma innerNr m n (A B : 'M[R]_(m,n)) : inner A (- B) = ropp (inner A B).
Proof. by rewrite /inner mulmxN; exact: linearN. Qed.
Lemma innerNl m n (A B : 'M[R]_(m,n)) : inner (- A) B = ropp (inner A B).
Proof. by rewrite innerC innerNr innerC. Qed.
Lemma innerZr m n a (A B : 'M[R]_(m,n)) : inner A (a *: B) = rmul a (inner A B).
Proof. by rewrite /inner mulZr; exact: linearZ. Qed.
Lemma innerZl m n a (A B : 'M[R]_(m,n)) : inner (a *: A) B = rmul a (inner A B).
Proof. by rewrite innerC innerZr innerC. Qed.
Lemma inner0r m n (A : 'M[R]_(m,n)) : inner A 0 = rzero R.
Proof. by rewrite /inner mulmx0; exact: linear0. Qed.
Lemma inner0l m n (A : 'M[R]_(m,n)) : inner 0 A = rzero R.
Proof. by rewrite innerC inner0r. Qed.
(* The adjoint rules: what stands beside the direction goes to the other side. *)
Lemma inner_right m n p (C : 'M[R]_(m,p)) (A : 'M_(m,n)) (B : 'M_(n,p)) :
  inner C (A *m B) = inner (C *m B^T) A.
Proof. by rewrite /inner trmx_mul trmxK -[in RHS]mulmxA [in RHS]mxtrace_mulC mulmxA. Qed.
Lemma inner_left m n p (C : 'M[R]_(m,p)) (A : 'M_(m,n)) (B : 'M_(n,p)) :
  inner C (A *m B) = inner (A^T *m C) B.
Proof. by rewrite /inner trmx_mul trmxK mulmxA. Qed.
Lemma inner_tr m n (C : 'M[R]_(n,m)) (A : 'M_(m,n)) : inner C A^T = inner C^T A.
Proof. by rewrite /inner trmxK -trmx_mul mxtrace_tr mxtrace_mulC. Qed.

(* What a loss leaves beyond its linear term G: of a differentiable loss it is o(|D|). *)
Variables loss : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> R.
Variables G : forall m n, 'M[R]_(m,n) -> 'M[R]_(m,n) -> 'M[R]_(m,n).
Definition remainder m n (Y D T : 'M[R]_(m,n)) : R := loss (Y + D) T - loss Y T - inner (G Y T) D.
Lemma loss_beside m n (Y D T : 'M[R]_(m,n)) :
  loss (Y + D) T = loss Y T + inner (G Y T) D + remainder Y D T.
Proof. by rewrite /remainder -[_ - _ - _]addrA -opprD [RHS]addrC addrNK. Qed.
End Inner.

(* A recurrence over blocks of w t examples: the columns of the first t blocks, newest first. *)
Section Columns.
Variables (R : comRingType) (w : nat -> nat).
Fixpoint width (t : nat) : nat := match t with 0 => 0 | t.+1 => w t + width t end.
Variables (r : nat) (x : forall t, 'M[R]_(r, w t)).
Fixpoint cols (t : nat) : 'M[R]_(r, width t) :=
  match t return 'M[R]_(r, width t) with 0 => 0 | t.+1 => row_mx (x t) (cols t) end.
End Columns.

(* One rule after the other: each looks at the goal only as often as it applies. *)
Ltac multiply :=
  rewrite ?mulmxDl ?mulmxDr ?trmx_mul ?trD ?mulmxN ?mulNmx ?trN ?trmxK ?oppD ?oppK ?mulmxA
    ?mulZl ?mulZr ?trZ ?scaleD ?scaleN ?scale2 ?scale1 ?scale0 ?mulmx0 ?mul0mx ?mulmx1 ?mul1mx
    ?tr0 ?tr1 ?mul0dim ?addl0 ?addr0' ?opp0.
Ltac block_steps :=
  rewrite ?mul_mx_row ?tr_row_mx ?mul_row_col ?mul_col_mx ?tr_col_mx ?row_cols ?addrow ?addcol
    ?opprow ?oppcol ?scalerow ?scalecol ?ones_row ?identity_blocks ?times_row ?times_col
    ?khatri_rao_row ?causal_blocks ?causal_newest_first_blocks ?diag_blocks ?map_row ?map_col.
Ltac entrywise_steps :=
  rewrite ?tr_times ?timesDl ?timesDr ?timesNl ?timesNr ?timesZl ?timesZr ?times0l ?times0r
    ?tr_diag ?causal1 ?causal_newest_first1 ?diag1 ?diagD ?diagN ?diagZ ?diag_ones
    ?times_col_ones ?times_ones_row ?times_col_onesr ?times_ones_rowr ?khatri_rao_gram
    ?khatri_rao_gramA ?causalD ?causalN ?causalZ ?causal0 ?causal_newest_firstD
    ?causal_newest_firstN ?causal_newest_firstZ ?causal_newest_first0 ?map_tr.
Ltac entry_steps := repeat progress
  rewrite ?identityE ?addE ?oppE ?zeroE ?scaleE ?timesE ?onesE ?causalE ?causal_newest_firstE
    ?outerE ?diagME ?MdiagE ?traceE ?mxtrace_add ?mxtrace_opp ?mxtrace_scale.
Ltac inner_steps := repeat progress
  rewrite ?innerDl ?innerDr ?innerNl ?innerNr ?innerZl ?innerZr ?inner0l ?inner0r.

(* Rules are only tried where the goal has something that they are about. *)
Ltac open_blocks :=
  lazymatch goal with
  | |- context [row_mx _ _] => block_steps
  | |- context [col_mx _ _] => block_steps
  | _ => idtac
  end.
Ltac open_entrywise :=
  lazymatch goal with
  | |- context [times _ _] => entrywise_steps
  | |- context [diag _] => entrywise_steps
  | |- context [causal _] => entrywise_steps
  | |- context [causal_newest_first _] => entrywise_steps
  | |- context [khatri_rao _ _] => entrywise_steps
  | |- context [map_mx _ _] => entrywise_steps
  | _ => idtac
  end.
(* Zeros and ones go before anything is multiplied out. *)
Ltac zeros := rewrite ?mulmx0 ?mul0mx ?mulmx1 ?mul1mx ?tr0 ?tr1 ?addl0 ?addr0' ?opp0 ?scale0.
Ltac multiply_out :=
  repeat (progress (zeros; open_blocks; multiply; open_entrywise)).

(* The sides of an equation of blocks, block by block. *)
Ltac by_blocks :=
  repeat match goal with
  | |- col_mx _ _ = col_mx _ _ => congr (col_mx _ _)
  | |- row_mx _ _ = row_mx _ _ => congr (row_mx _ _)
  end.

(* The same type in one spelling, as `ring` compares by spelling. *)
Ltac one_type :=
  repeat match goal with
  | |- context [GRing.Ring.sort (GRing.ComRing.ringType ?R)] =>
    change (GRing.Ring.sort (GRing.ComRing.ringType R)) with (GRing.ComRing.sort R)
  | |- context [GRing.UnitRing.ringType (GRing.ComUnitRing.unitRingType ?R)] =>
    change (GRing.UnitRing.ringType (GRing.ComUnitRing.unitRingType R))
      with (GRing.ComRing.ringType (GRing.ComUnitRing.comRingType R))
  | |- context [GRing.ComUnitRing.ringType ?R] =>
    change (GRing.ComUnitRing.ringType R)
      with (GRing.ComRing.ringType (GRing.ComUnitRing.comRingType R))
  | |- context [GRing.ComUnitRing.zmodType ?R] =>
    change (GRing.ComUnitRing.zmodType R)
      with (GRing.ComRing.zmodType (GRing.ComUnitRing.comRingType R))
  | |- context [GRing.ComUnitRing.sort ?R] =>
    change (GRing.ComUnitRing.sort R) with (GRing.ComRing.sort (GRing.ComUnitRing.comRingType R))
  | |- context [GRing.Zmodule.sort (GRing.ComRing.zmodType ?R)] =>
    change (GRing.Zmodule.sort (GRing.ComRing.zmodType R)) with (GRing.ComRing.sort R)
  | |- context [GRing.Zmodule.sort (GRing.Ring.zmodType (GRing.ComRing.ringType ?R))] =>
    change (GRing.Zmodule.sort (GRing.Ring.zmodType (GRing.ComRing.ringType R)))
      with (GRing.ComRing.sort R)
  end.

Ltac ring_equal :=
  rewrite ?(raddE, rmulE, roppE, twiceE, rzeroE, roneE);
  rewrite ?(uaddE, umulE, uoppE, utwiceE, uzeroE, uoneE);
  one_type; apply: with_zero; ring.

(* A number k^T M q is also q^T M^T k: where the goal has both, keep one. *)
Ltac one_of_transposes :=
  repeat match goal with
  | |- context [fun_of_matrix (@mulmx ?R ?m ?n ?p ?A ?B) ord0 ord0] =>
    let E := fresh "E" in
    have E := tr_entry (@mulmx R m n p A B) ord0 ord0;
    rewrite ?(trmx_mul, trmxK, mulmxA, tr_diag, map_tr) in E;
    match type of E with
    | ?left = ?right =>
      match goal with |- context [right] => progress rewrite E; clear E end
    end
  end.

(* Rows of numbers as columns. *)
Ltac rows_as_columns :=
  repeat match goal with
  | |- context [fun_of_matrix (@mulmx ?R 1%N ?n ?p ?A ?B) ord0 ?j] =>
    lazymatch p with 1%N => fail | _ => rewrite (row_entry A B j) end
  end.

Ltac open_entries :=
  rewrite ?outer_first; entry_steps; rewrite ?tr_entry; multiply; open_entrywise;
  rewrite ?outer_first; entry_steps; rewrite ?tr_entry; rows_as_columns;
  multiply; open_entrywise; rewrite ?outer_first; entry_steps; rewrite ?tr_entry.

Ltac entries :=
  let i := fresh "i" in let j := fresh "j" in
  apply/matrixP=> i j; rewrite /sc ?(ord1E i) ?(ord1E j); open_entries.

(* Traces of products agree when their factors are rotated or transposed: keep one of them. *)
Ltac rotated E fuel :=
  match type of E with
  | ?left = ?right =>
    match goal with
    | |- context [right] => progress rewrite E; clear E
    | _ =>
      match fuel with S ?less =>
        match type of E with _ = \tr (?A *m ?B) =>
          rewrite (mxtrace_mulC A B) ?mulmxA in E; rotated E less
        end
      end
    end
  end.
Ltac one_of_traces :=
  repeat match goal with
  | |- context [\tr (@mulmx ?R ?m ?n ?p ?A ?B)] =>
    let E := fresh "E" in
    have E : \tr (@mulmx R m n p A B) = \tr (@mulmx R m n p A B) by [];
    rewrite [in RHS]mxtrace_mulC ?mulmxA in E; rotated E 8%N
  end.

Ltac finite_algebra :=
  rewrite /sc; multiply_out; by_blocks; entries; try one_of_transposes; try one_of_traces; ring_equal.

(* The expansion of a scalar at U + t H; H is the direction. *)
Ltac to_direction H :=
  repeat match goal with
  | |- context [inner ?C (?A^T)] => match A with context [H] => rewrite (inner_tr C A) end
  | |- context [inner ?C (?A *m ?B)] =>
    lazymatch C with context [H] => fail | _ =>
    lazymatch A with
    | context [H] => rewrite (inner_right C A B)
    | _ => lazymatch B with context [H] => rewrite (inner_left C A B) end
    end end
  | |- context [inner ?C ?A] =>
    lazymatch C with context [H] => lazymatch A with context [H] => fail | _ =>
      rewrite (innerC C A) end end
  end.
Ltac expansion H :=
  rewrite /sc; multiply_out; inner_steps; entry_steps;
  repeat (progress (to_direction H; multiply_out; inner_steps)); open_entries; ring_equal.

(* What inverses are for: numbers through y z = 1, matrices by cancelling. *)
Ltac cancel_inverses :=
  repeat match goal with
  | H : is_true (?A \in unitmx) |- _ =>
    progress rewrite ?(mulVmx H) ?(mulmxV H) ?(mulmxK H) ?(mulmxKV H)
  | H : is_true (?P *m ?Q \in unitmx) |- _ =>
    progress rewrite ?(inverse_cancels _ H)
  end.

Ltac spell := rewrite ?(raddE, rmulE, roppE, twiceE, rzeroE, roneE)
  ?(uaddE, umulE, uoppE, utwiceE, uzeroE, uoneE).
Ltac argument_equal :=
  let a := fresh "a" in let b := fresh "b" in
  apply/matrixP=> a b; open_entries; spell; one_type; apply: with_zero; ring.
Ltac same_arguments :=
  repeat match goal with
  | |- context [map_mx ?f ?X] =>
    match goal with |- context [map_mx f ?Y] =>
      lazymatch X with Y => fail | _ =>
        let E := fresh "E" in (have E : X = Y by argument_equal); rewrite E; clear E
      end
    end
  end.

(* Both sides multiplied by what is inverted; then y z = 1, and y b = 1 - y a for z = a + b. *)
Ltac multiply_by_units :=
  repeat match goal with
  | E : rmul ?y (radd ?a ?b) = rone _ |- _ => apply: (times_unit E); move/relation: E => E
  | E : rmul ?y ?z = rone _ |- _ => apply: (times_unit E); move/no_relation: E => E
  end.
Ltac orient_units :=
  repeat match goal with
  | E : rmul ?y (radd ?a ?b) = rone _ |- _ => move/relation: E => E
  | E : rmul ?y ?z = rone _ |- _ => move/no_relation: E => E
  end.
Ltac ring_with_units :=
  one_type; apply: with_zero;
  match goal with
  | E1 : rmul _ _ = radd _ _, E2 : rmul _ _ = radd _ _, E3 : rmul _ _ = radd _ _ |- _ =>
    ring [E1 E2 E3]
  | E1 : rmul _ _ = radd _ _, E2 : rmul _ _ = radd _ _ |- _ => ring [E1 E2]
  | E1 : rmul _ _ = radd _ _ |- _ => ring [E1]
  | _ => ring
  end.
(* Equations about the numbers that are inverted, kept beside the goal to be rewritten with it. *)
Ltac number_units :=
  repeat match goal with
  | H : is_true (?Z \in @unitmx ?R 1%N) |- _ => move: (unit_number H); clear H
  end.
(* A matrix that is inverted and is a sum P + Q becomes a variable A, and Q becomes A - P. *)
Lemma last_summand (R : comUnitRingType) n (M P Q : 'M[R]_n) : M = P + Q -> Q = M - P.
Proof. by move=> ->; rewrite addrC addKr. Qed.
Ltac name_sums :=
  repeat match goal with
  | H : is_true (?M \in @unitmx ?R ?n) |- _ =>
    lazymatch n with 1%N => fail | _ =>
      lazymatch M with @GRing.add _ ?P ?Q =>
        let E := fresh "E" in let A := fresh "A" in
        (have E : Q = M - P by apply: last_summand);
        move: H E; generalize M => A H E; rewrite E; clear E
      end
    end
  end.
Ltac inverse_algebra :=
  intros; name_sums; rewrite /sc; cancel_inverses; multiply_out; cancel_inverses; multiply_out;
  same_arguments;
  let i := fresh "i" in let j := fresh "j" in
  apply/matrixP=> i j; rewrite ?(ord1E i) ?(ord1E j); number_units;
  multiply_out; open_entries; spell; try one_of_transposes; one_type; intros;
  first [solve [orient_units; ring_with_units] | multiply_by_units; ring_with_units].

(* Concrete matrices as lists of rows, to show that two of them differ: MathComp's matrices do not
   compute, these lists do. Instances follow the shape of an expression. *)
Section Values.
Variable R : comUnitRingType.
Definition entry (l : seq (seq R)) (i j : nat) : R := nth 0 (nth [::] l i) j.
Definition mx m n (l : seq (seq R)) : 'M[R]_(m,n) := \matrix_(i, j) entry l i j.
Definition table m n (f : nat -> nat -> R) : seq (seq R) := mkseq (fun i => mkseq (f i) n) m.
Lemma entry_table m n f i j : (i < m)%N -> (j < n)%N -> entry (table m n f) i j = f i j.
Proof. by move=> im jn; rewrite /entry /table !nth_mkseq. Qed.
Lemma mx_table m n f : mx m n (table m n f) = \matrix_(i, j) f i j.
Proof. by apply/matrixP=> i j; rewrite !mxE entry_table. Qed.
Definition dot p (f : nat -> R) : R := foldr (fun k s => f k + s) 0 (iota 0 p).
Lemma dotE p (f : nat -> R) : \sum_(k < p) f k = dot p f.
Proof. by rewrite -(big_mkord xpredT f) unlock /reducebig /index_iota subn0. Qed.

Class value m n (A : 'M[R]_(m,n)) (l : seq (seq R)) : Prop := value_of : A = mx m n l.
Definition list_of m n (A : 'M[R]_(m,n)) l (_ : value A l) := l.
Definition same m n (a b : seq (seq R)) : bool :=
  all (fun i => all (fun j => entry a i j == entry b i j) (iota 0 n)) (iota 0 m).
Lemma same_mx m n a b : same m n a b -> mx m n a = mx m n b.
Proof.
move=> /allP ab; apply/matrixP=> i j; rewrite !mxE.
have im : val i \in iota 0 m by rewrite mem_iota ltn_ord.
have jn : val j \in iota 0 n by rewrite mem_iota ltn_ord.
by have /allP row := ab _ im; apply/eqP; exact: row.
Qed.
Lemma value_is m n (A : 'M[R]_(m,n)) a b : value A a -> same m n a b -> value A b.
Proof. by move=> Aa ab; rewrite /value Aa; exact: same_mx. Qed.
Lemma differ m n (A B : 'M[R]_(m,n)) a b : value A a -> value B b -> ~~ same m n a b -> A <> B.
Proof.
move=> -> -> /negP no E; apply: no; apply/allP => i; rewrite mem_iota /= => im.
apply/allP => j; rewrite mem_iota /= => jn.
by have /matrixP/(_ (Ordinal im) (Ordinal jn)) := E; rewrite !mxE => ->.
Qed.
(* `vm_compute` computes an argument once, and what is under a binder again and again. *)
Definition on1 (a : seq (seq R)) (f : seq (seq R) -> seq (seq R)) := f a.
Definition on2 (a b : seq (seq R)) (f : seq (seq R) -> seq (seq R) -> seq (seq R)) := f a b.
Global Instance value_mx m n l : value (mx m n l) l. Proof. by []. Qed.
Global Instance value_zero m n : value (0 : 'M[R]_(m,n)) (table m n (fun _ _ => 0)).
Proof. by rewrite /value mx_table; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_one n : value (1%:M : 'M[R]_n) (table n n (fun i j => (i == j)%:R)).
Proof. by rewrite /value mx_table; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_ones n : value (ones R n) (table 1 n (fun _ _ => 1)).
Proof. by rewrite /value mx_table; apply/matrixP=> i j; rewrite !mxE. Qed.
Section Operations.
Context m n p q (A : 'M[R]_(m,n)) (B : 'M[R]_(m,n)) (C : 'M[R]_(n,p)) (D : 'M[R]_(m,q)).
Context (F : 'M[R]_n) (c : 'M[R]_1) (g : 'M[R]_(n,1)).
Context a b cl d f s gl (Aa : value A a) (Bb : value B b) (Cc : value C cl) (Dd : value D d) (Ff : value F f) (ss : value c s) (gg : value g gl).
Global Instance value_add : value (A + B) (on2 a b (fun a b =>
    table m n (fun i j => entry a i j + entry b i j))).
Proof. by rewrite /value /on1 /on2 mx_table Aa Bb; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_opp : value (- A) (on1 a (fun a =>
    table m n (fun i j => - entry a i j))).
Proof. by rewrite /value /on1 /on2 mx_table Aa; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_mul :
  value (A *m C) (on2 a cl (fun a cl =>
    table m p (fun i j => dot n (fun k => entry a i k * entry cl k j)))).
Proof.
rewrite /value /on1 /on2 mx_table Aa Cc; apply/matrixP=> i j; rewrite !mxE -dotE.
by apply: eq_bigr => k _; rewrite !mxE.
Qed.
Global Instance value_tr : value A^T (on1 a (fun a =>
    table n m (fun i j => entry a j i))).
Proof. by rewrite /value /on1 /on2 mx_table Aa; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_scale : value (sc c *: A) (on2 a s (fun a s =>
    table m n (fun i j => entry s 0 0 * entry a i j))).
Proof. by rewrite /value /on1 /on2 mx_table Aa ss; apply/matrixP=> i j; rewrite /sc !mxE. Qed.
Global Instance value_times : value (times A B) (on2 a b (fun a b =>
    table m n (fun i j => entry a i j * entry b i j))).
Proof. by rewrite /value /on1 /on2 mx_table Aa Bb; apply/matrixP=> i j; rewrite !mxE. Qed.
Global Instance value_diag :
  value (diag g) (on1 gl (fun gl =>
    table n n (fun i j => if i == j then entry gl i 0 else 0))).
Proof.
rewrite /value /on1 /on2 mx_table gg; apply/matrixP=> i j; rewrite /diag !mxE.
by rewrite -val_eqE /=; case: eqP => [->|_]; rewrite ?mulr1n ?mulr0n.
Qed.
Global Instance value_causal :
  value (causal F) (on1 f (fun f =>
    table n n (fun i j => if (i <= j)%N then entry f i j else 0))).
Proof.
rewrite /value /on1 /on2 mx_table Ff; apply/matrixP=> i j; rewrite !mxE.
by case: (i <= j)%N; rewrite ?mulr1n ?mulr0n.
Qed.
Global Instance value_trace : value (trace F) (on1 f (fun f =>
    table 1 1 (fun _ _ => dot n (fun k => entry f k k)))).
Proof.
rewrite /value /on1 /on2 mx_table Ff; apply/matrixP=> i j; rewrite /trace !mxE !ord1 eqxx mulr1n -dotE.
by apply: eq_bigr => k _; rewrite !mxE.
Qed.
Global Instance value_row :
  value (row_mx A D)
    (on2 a d (fun a d =>
    table m (n + q) (fun i j => if (j < n)%N then entry a i j else entry d i (j - n)))).
Proof.
rewrite /value /on1 /on2 mx_table Aa Dd; apply/matrixP=> i j; case: (split_ordP j) => k ->.
  by rewrite row_mxEl !mxE /= ltn_ord.
by rewrite row_mxEr !mxE /= ltnNge leq_addr /= addKn.
Qed.
Global Instance value_map (h : R -> R) : value (map_mx h A) (on1 a (fun a =>
    table m n (fun i j => h (entry a i j)))).
Proof. by rewrite /value /on1 /on2 mx_table Aa; apply/matrixP=> i j; rewrite !mxE. Qed.
End Operations.
Global Instance value_over m1 m2 n (A : 'M[R]_(m1,n)) (B : 'M[R]_(m2,n)) a b
    (Aa : value A a) (Bb : value B b) :
  value (col_mx A B)
    (on2 a b (fun a b =>
    table (m1 + m2) n (fun i j => if (i < m1)%N then entry a i j else entry b (i - m1) j))).
Proof.
rewrite /value /on1 /on2 mx_table Aa Bb; apply/matrixP=> i j; case: (split_ordP i) => k ->.
  by rewrite col_mxEu !mxE /= ltn_ord.
by rewrite col_mxEd !mxE /= ltnNge leq_addr /= addKn.
Qed.

(* Determinants and adjugates of lists by their first row; the inverse they give is checked. *)
Definition minor (a : seq (seq R)) i j : seq (seq R) :=
  let without k T (s : seq T) := take k s ++ drop k.+1 s in
  map (without j R) (without i (seq R) a).
Fixpoint determinant n (a : seq (seq R)) : R :=
  if n is n'.+1 then dot n (fun j => (-1) ^+ j * entry a 0 j * determinant n' (minor a 0 j)) else 1.
Definition inverse_list n (a : seq (seq R)) : seq (seq R) :=
  let d := (determinant n a)^-1 in
  table n n (fun i j => d * ((-1) ^+ (i + j) * determinant n.-1 (minor a j i))).
Definition inverts n (a b : seq (seq R)) : bool :=
  same n n (table n n (fun i j => dot n (fun k => entry a i k * entry b k j)))
    (table n n (fun i j => (i == j)%:R)).
Lemma value_inverse n (A : 'M[R]_n) a (Aa : value A a) :
  inverts n a (inverse_list n a) -> value (invmx A) (inverse_list n a).
Proof.
move=> /same_mx; set b := inverse_list n a => ab.
have AB : A *m mx n n b = 1%:M.
  have V : value (mx n n b) b by [].
  by rewrite (value_mul Aa V) /on2 ab [RHS](value_one n).
have [unit _] := mulmx1_unit AB.
by rewrite /value -[RHS](mulKmx unit) AB mulmx1.
Qed.

(* The gradient of the loss that a refutation takes, the sum of y^3 - t y. *)
Definition cubic_gradient m n (Y T : 'M[R]_(m,n)) : 'M[R]_(m,n) :=
  \matrix_(i, j) (Y i j * Y i j *+ 3 - T i j).
Global Instance value_cubic m n (A B : 'M[R]_(m,n)) a b (Aa : value A a) (Bb : value B b) :
  value (cubic_gradient A B)
    (on2 a b (fun a b =>
    table m n (fun i j => entry a i j * entry a i j *+ 3 - entry b i j))).
Proof. by rewrite /value /on1 /on2 mx_table Aa Bb; apply/matrixP=> i j; rewrite !mxE. Qed.
End Values.

(* Functions that stand for exp and for an activation: 2^x at the integers x >= 0, and x^2. *)
Definition power_of_two_int (x : int) : int := 2%:R ^+ `|x|.
Definition power_of_two (x : rat) : rat := 2%:R ^+ `|numq x|.

(* An inverse is computed and checked. *)
Ltac inverse_value :=
  match goal with |- value (invmx _) _ =>
    notypeclasses refine (value_inverse _ _); [typeclasses eauto | vm_compute; reflexivity]
  end.
Global Hint Extern 1 (value (invmx _) _) => inverse_value : typeclass_instances.
Ltac evaluate := eapply value_is; [typeclasses eauto | vm_compute; reflexivity].
Ltac different := eapply differ; [typeclasses eauto | typeclasses eauto | vm_compute; reflexivity].
